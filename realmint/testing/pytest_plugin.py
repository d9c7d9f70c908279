"""The fixture `fake_issuer`, for every test of an environment in which realmint and pytest are."""

import pytest

from realmint.testing import FakeIssuer


@pytest.fixture
def fake_issuer() -> FakeIssuer:
    """An issuer in memory, on a clock that moves when told."""
    return FakeIssuer()
