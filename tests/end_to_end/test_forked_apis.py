"""An API whose workers are forked after it spoke with the issuer: no worker hears what was said to another."""

from pathlib import Path

import pytest

from tests.support.forked_api import CLIENTS, World


@pytest.mark.parametrize("starts", [2, pytest.param(10, marks=pytest.mark.soak)])
def test_200_an_api_preloaded_under_four_workers_takes_every_token_for_the_client_it_was_issued_to(
    tmp_path: Path, starts: int
) -> None:
    world = World(tmp_path)
    with world.issuer.gunicorn():
        world.get_tokens()
        for start in range(starts):
            answers = world.start_once(f"api-{start}")
            assert answers == [(client_id, 200, client_id) for _ in range(3) for client_id in CLIENTS]


def test_200_four_children_of_a_plain_fork_take_every_token_for_the_client_it_was_issued_to(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.issuer.gunicorn():
        world.get_tokens()
        assert world.fork_four() == [[], [], [], []]
