"""Fixtures of the conformance suites."""

import pytest

from tests.conformance.backends import backend, redis_servers
from tests.integration.servers import fresh_name

__all__ = ["backend", "redis_servers"]


@pytest.fixture
def site() -> str:
    """A site no other test uses."""
    return fresh_name("park")
