"""Fixtures of the conformance suites."""

from tests.conformance.backends import backend, redis_servers
from tests.integration.servers import fresh_name

import pytest

__all__ = ["backend", "redis_servers"]


@pytest.fixture
def site() -> str:
    """A site no other test uses."""
    return fresh_name("park")
