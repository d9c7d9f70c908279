"""flask keys rotate while processes serve: old and new tokens verify, and the new key signs within 2 s."""

import time
from pathlib import Path

import jwt as pyjwt
import pytest

from tests.support.issuer import header
from tests.support.process import Deployment, post, until

SERVERS = ["flask run", "gunicorn --workers 2"]


@pytest.mark.parametrize("server", SERVERS)
def test_old_and_new_tokens_verify_after_a_rotation_and_the_new_key_signs_within_two_seconds(
    tmp_path: Path, server: str
) -> None:
    deployment = Deployment(tmp_path)
    client = deployment.run("clients create svc --scope read --default-scope read")
    issuer = deployment.issuer()

    def token() -> str:
        answer = post(f"{issuer}/access_token", {"grant_type": "client_credentials"}, ("svc", client["client_secret"]))
        return str(answer.json()["access_token"])

    def verified(text: str) -> str:
        # A verifier that fetches anew each time, as one that starts now would.
        key = pyjwt.PyJWKClient(f"{issuer}/connect/jwk_uri").get_signing_key_from_jwt(text)
        return str(pyjwt.decode(text, key, algorithms=["ES256"], issuer=issuer, audience=issuer)["jti"])

    with deployment.serving() if server == "flask run" else deployment.gunicorn():
        verifier_of_before = pyjwt.PyJWKClient(f"{issuer}/connect/jwk_uri", lifespan=3600)
        held = {key.key_id: key for key in verifier_of_before.get_signing_keys()}
        old = token()
        rotated = deployment.run("keys rotate")
        done = time.monotonic()
        new_kid = rotated["rotated"][0]["active"]
        assert header(old)["kid"] == rotated["rotated"][0]["retiring"]
        # Every process has switched within SNAPSHOT_REFRESH; the margin is for two busy cores.
        until(lambda: all(header(token())["kid"] == new_kid for _ in range(8)), seconds=5)
        assert time.monotonic() - done < 3.5
        new = token()
        assert verified(old) != verified(new)
        # One that fetched before the rotation and never since knows the new key already: it was the standby.
        pyjwt.decode(new, held[new_kid], algorithms=["ES256"], issuer=issuer, audience=issuer)
        # Within the gate the next one is refused, and says when.
        refused = deployment.command("keys rotate --json")
        assert refused.returncode == 3
        assert '"retry_at"' in refused.stdout
