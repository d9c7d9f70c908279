"""What platforms give their workloads, as they write it, and rules of trust for it."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.assertions import SPIFFE_TYPE, TYPE, Signer, issuer_of, written
from tests.support.issuer import Issuer

AUDIENCE = issuer_of()
DOMAIN = "spiffe://example.org"


@dataclass(frozen=True)
class Platform:
    """issuer: whom a rule names. matches: the claims that it names. header: what a token of its says besides."""

    name: str
    issuer: str
    alg: str
    header: Mapping[str, Any]
    matches: Mapping[str, str]
    claims: Callable[[int], dict[str, Any]]
    assertion_type: str = TYPE

    @property
    def client_id(self) -> str:
        return f"svc-{self.name}"

    def rule(self, *, issuer: str | None = None, **matches: str | None) -> str:
        """The options of a rule. matches: others in place of these; None takes one away."""
        wanted = {**self.matches, **matches}
        given = [f"--match {shlex.quote(f'{name}={value}')}" for name, value in wanted.items() if value is not None]
        return " ".join([f"--issuer {issuer or self.issuer}", *given])

    def token(self, signer: Signer, now: int, *, header: Any = None, **changes: Any) -> str:
        said = {name: value for name, value in {**self.claims(now), **changes}.items() if value is not None}
        return signer.raw({**signer.header, **self.header, **(header or {})}, said)

    def trust(self, issuer: Issuer, signer: Signer, options: str = "", *, rule: str | None = None) -> Any:
        """A rule with the signer's public half as its keys; what the command prints."""
        file = written(issuer, {"keys": [signer.public_jwk(use="sig")]})
        return issuer.run(f"clients trust add {self.client_id} {rule or self.rule()} --jwks {file} {options}")


def _kubernetes(now: int) -> dict[str, Any]:
    return {
        "aud": [AUDIENCE], "exp": now + 3607, "iat": now, "nbf": now,
        "iss": "https://kubernetes.default.svc.cluster.local", "jti": f"0b1c-{now}",
        "kubernetes.io": {
            "namespace": "shop", "node": {"name": "node-1", "uid": "5a0e"},
            "pod": {"name": "orders-7d9f-x2x", "uid": "7c1f"}, "serviceaccount": {"name": "orders", "uid": "11aa"},
        },
        "sub": "system:serviceaccount:shop:orders",
    }  # fmt: skip


def _github(now: int) -> dict[str, Any]:
    return {
        "jti": f"gh-{now}", "sub": "repo:acme/shop:ref:refs/heads/main", "aud": AUDIENCE, "ref": "refs/heads/main",
        "sha": "0f3c", "repository": "acme/shop", "repository_owner": "acme", "repository_owner_id": "65",
        "run_id": "99", "run_attempt": "1", "actor": "octocat", "workflow": "deploy", "head_ref": "", "base_ref": "",
        "event_name": "push", "ref_protected": "true", "ref_type": "branch", "repository_visibility": "private",
        "job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main", "runner_environment": "self",
        "iss": "https://token.actions.githubusercontent.com", "nbf": now - 600, "exp": now + 300, "iat": now,
    }  # fmt: skip


def _gitlab(now: int) -> dict[str, Any]:
    return {
        "iss": "https://gitlab.example", "sub": "project_path:acme/shop:ref_type:branch:ref:main", "aud": AUDIENCE,
        "iat": now, "nbf": now - 5, "exp": now + 3600, "jti": f"gl-{now}", "namespace_id": "72",
        "namespace_path": "acme", "project_id": "20", "project_path": "acme/shop", "user_id": "1",
        "user_identities": [{"provider": "github", "extern_uid": "2435"}], "pipeline_source": "push", "job_id": "302",
        "ref": "main", "ref_type": "branch", "ref_protected": "true", "environment_protected": "false",
        "groups_direct": ["acme/ops", "acme/shop"], "runner_id": 1,
    }  # fmt: skip


def _spiffe(now: int) -> dict[str, Any]:
    return {"sub": f"{DOMAIN}/shop/orders", "aud": [AUDIENCE], "iat": now, "exp": now + 300}


PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform(
            "kubernetes", "https://kubernetes.default.svc.cluster.local", "RS256", {},
            {"sub": "system:serviceaccount:shop:orders", "/kubernetes.io/namespace": "shop",
             "/kubernetes.io/serviceaccount/name": "orders"}, _kubernetes,
        ),
        Platform(
            "github", "https://token.actions.githubusercontent.com", "RS256", {"typ": "JWT", "x5t": "ykNaY4qM"},
            {"sub": "repo:acme/shop:ref:refs/heads/main", "repository_owner_id": "65"}, _github,
        ),
        Platform(
            "gitlab", "https://gitlab.example", "RS256", {"typ": "JWT"},
            {"sub": "project_path:acme/shop:ref_type:branch:ref:main", "ref_protected": "true", "runner_id": "1",
             "groups_direct": "acme/ops"}, _gitlab,
        ),
        Platform("spiffe", DOMAIN, "ES256", {"typ": "JOSE"}, {"sub": f"{DOMAIN}/shop/orders"}, _spiffe, SPIFFE_TYPE),
    )
}  # fmt: skip


def near_misses(platform: Platform, signer: Signer, now: int) -> dict[str, str]:
    """Tokens that are wrong in one thing each."""

    def token(**changes: Any) -> str:
        return platform.token(signer, now, **changes)

    said = platform.claims(now)
    wrong = {
        "aud_two": token(aud=[AUDIENCE, "https://other.example"]),
        "aud_twice": token(aud=[AUDIENCE, AUDIENCE]),
        "aud_other": token(aud="https://other.example"),
        "aud_slash": token(aud=[AUDIENCE + "/"]),
        "aud_none": token(aud=None),
        "aud_empty": token(aud=[]),
        "exp_past": token(iat=now - 600, nbf=None, exp=now - 30),
        "exp_none": token(exp=None),
        "exp_text": token(exp=str(now + 60)),
        "exp_far": token(exp=now + 86400 + 61),
        "iat_ahead": token(iat=now + 31, exp=now + 300),
        "nbf_ahead": token(nbf=now + 31),
        "typ_at": token(header={"typ": "at+jwt"}),
        "typ_own": token(header={"typ": "client-authentication+jwt"}),
        "typ_logout": token(header={"typ": "logout+jwt"}),
        "wrong_key": platform.token(Signer(platform.name, platform.alg), now),
        "unknown_kid": token(header={"kid": "k2"}),
        "none": platform.token(signer, now, header={"alg": "none"}).rpartition(".")[0] + ".",
        "crit": token(header={"crit": ["exp"]}),
        "sub_longer": token(sub=said["sub"] + "x"),
        "sub_shorter": token(sub=said["sub"][:-1]),
        "sub_below": token(sub=said["sub"] + "/x"),
        "sub_case": token(sub=said["sub"].upper()),
        "sub_space": token(sub=said["sub"] + " "),
        "sub_none": token(sub=None),
        "sub_list": token(sub={"": said["sub"]}),
        "sub_star": token(sub="*"),
        "garbage": "a.b.c",
    }
    if "iss" in said:
        wrong |= {
            "iss_other": token(iss="https://evil.example"),
            "iss_slash": token(iss=said["iss"] + "/"),
            "iss_case": token(iss=said["iss"].replace("https", "HTTPS")),
            "iss_below": token(iss=said["iss"] + "/.well-known"),
            "iss_none": token(iss=None),
            "iss_list": token(iss=[said["iss"]]),
        }
    else:
        wrong |= {
            "domain_other": token(sub="spiffe://evil.example/shop/orders"),
            "domain_longer": token(sub="spiffe://example.org.evil/shop/orders"),
            "domain_alone": token(sub=DOMAIN),
            "domain_case": token(sub="SPIFFE://example.org/shop/orders"),
        }
    for claim in platform.matches:
        if claim == "sub":
            continue
        top, _, rest = claim.lstrip("/").partition("/")
        for how, value in {"none": None, "other": "other", "empty": "", "number": 7, "list": ["other", None]}.items():
            changed = value if not rest else _replaced(said[top], rest.split("/"), value)
            wrong[f"{claim.replace('/', '_')}_{how}"] = token(**{top: changed})
    return wrong


def _replaced(value: Any, path: list[str], by: Any) -> Any:
    if not path:
        return by
    return {**value, path[0]: _replaced(value.get(path[0], {}), path[1:], by)}
