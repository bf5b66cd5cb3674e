"""Fixtures: a stage, and a client of its API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx import AsyncClient

from tests.unit.api.stage import Stage, migrated_database, open_client, open_stage


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database in the present schema, to be copied."""
    return migrated_database(tmp_path_factory.mktemp("migrated"))


@pytest.fixture
async def stage(tmp_path: Path, migrated: Path) -> AsyncIterator[Stage]:
    """A platform with two sites."""
    async with open_stage(tmp_path, migrated) as opened:
        yield opened


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[AsyncClient]:
    """A client of its API."""
    async with open_client(stage) as opened:
        yield opened
