"""U1: from the version before the last three migrations to this one, with a backlog wherever there can be one; and with
processes of both versions at work at once. Nothing is lost, nothing is charged or credited twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from tests.faults.books import faults_of_the_books
from tests.faults.stage import SERVICES, Stage, park, shops
from tests.faults.versions import ROOT, NoHistoryError, before_the_last_migrations, newest_migration, unpack

BACK = 3
METERS = shops(8)
NANO = 10**9
OPENING, TOP_UP = 60, 5
ROLLING = ("ledger", "commands", "scheduler", "api", "ingest")
"""Whoever reads effects first, whoever makes them last."""


@pytest.fixture(scope="module")
def old_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The older version."""
    try:
        return unpack(before_the_last_migrations(BACK), tmp_path_factory.mktemp("old"))
    except NoHistoryError as error:
        pytest.skip(f"there is no older version here: {error}")


def tenant_of(device: str) -> str:
    return f"t-{device.removeprefix('em-')}"


class Upgrade(Stage):
    """A stage whose processes are of the old version until `upgrade`."""

    def __init__(self, folder: Path, old_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        credit = {tenant_of(one.device): f"{OPENING}.00" for one in METERS}
        super().__init__(folder, park(METERS, credit_of=credit), postgres=True)
        self._old_tree = old_tree
        self._patch = monkeypatch
        self.paid: dict[str, dict[str, int]] = {}

    def __enter__(self) -> Upgrade:
        with self._patch.context() as patch:
            patch.setenv("PYTHONPATH", str(self._old_tree))
            super().__enter__()
        assert self.migration() == newest_migration(self._old_tree), "the old version made the database"
        return self

    def upgrade(self) -> None:
        """What starts from now on is of this version."""
        del self.place.environment["PYTHONPATH"]

    def pay(self, device: str, key: str) -> None:
        """A payment at the desk."""
        self.top_up(tenant_of(device), f"{TOP_UP}.00", key)
        self.paid.setdefault(tenant_of(device), {})[key] = TOP_UP * NANO

    def migration(self) -> str:
        """Newest migration of the database."""

        async def ask() -> str:
            connection = await asyncpg.connect(self.direct["database"].replace("asyncpg://", "postgresql://"))
            try:
                return str(await connection.fetchval("SELECT max(name) FROM tortoise_migrations WHERE app = 'store'"))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def converge(self) -> None:
        """All that devices told is charged once, all that was paid is booked once, and the proofs hold."""
        self.wait_minutes(3)
        self.stop_fleet()
        until("all is charged", lambda: [text for one in METERS if (text := self._wrong(one.device))])
        told = {one.device: max(body["d"]["import_wh"] for body in self.samples(one.device)) for one in METERS}
        url = self.direct["database"]
        until("the books", lambda: faults_of_the_books(url, told_wh=told, paid_nano=self.paid, doubted=frozenset()))
        assert self.migration() == newest_migration(ROOT)
        proved = self.place.verify()
        assert proved.returncode == 0, proved.stdout + proved.stderr

    def _wrong(self, device: str) -> str:
        return self.uncharged(device, OPENING * NANO + sum(self.paid.get(tenant_of(device), {}).values()))


def until(what: str, wrong: Callable[[], list[str]], within_s: float = 90) -> None:
    deadline = time.monotonic() + within_s
    while found := wrong():
        assert time.monotonic() < deadline, f"{what}: {found[:5]}"
        time.sleep(0.5)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_an_upgrade_with_a_backlog_everywhere(tmp_path: Path, old_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Effects that no ledger has read, messages that no ingest has taken: the new version finds both."""
    with Upgrade(tmp_path, old_tree, monkeypatch) as stage:
        stage.up()
        stage.start_fleet(METERS)
        stage.pay("em-001", "by-the-old")
        stage.wait_minutes(5)
        stage.place.stop()
        stage.serve("ingest")
        stage.serve("api")
        stage.place.up = None
        stage.pay("em-002", "between")
        stage.wait_minutes(5)
        stage.kill("api")
        stage.kill("ingest")
        stage.wait_minutes(3)
        stage.upgrade()
        stage.up()
        stage.pay("em-003", "by-the-new")
        stage.converge()
        assert stage.place.up is not None, "the new version runs, and everything it found is where it belongs"


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_both_versions_at_once(tmp_path: Path, old_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Service after service is replaced while the others go on; the first new one brings the schema up."""
    with Upgrade(tmp_path, old_tree, monkeypatch) as stage:
        stage.serve_all()
        stage.start_fleet(METERS)
        stage.pay("em-001", "by-the-old")
        stage.wait_minutes(3)
        stage.upgrade()
        assert set(ROLLING) == set(SERVICES)
        for number, name in enumerate(ROLLING, start=2):
            stage.kill(name)
            stage.serve(name)
            stage.pay(f"em-{number:03d}", f"after-{name}")
            stage.wait_minutes(2)
        stage.converge()
