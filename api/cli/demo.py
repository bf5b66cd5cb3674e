"""`twinmeter demo`: a whole park on this machine, from an empty folder to a proved ledger.

Embedded servers, every service in this process, 220 merchants with their meters in a child process, and tenants who
recharge over HTTP. A scaled clock makes an hour pass in a minute. Ctrl-C (or `--for`) stops the devices, lets the
ledger take the last effect and proves the books. Every step of that has its time; what does not come to its end is
named, and the exit code is 1.
"""

from __future__ import annotations

import asyncio
import json as json_text
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.errors import FAILED, CommandError, WrongUsageError
from api.cli.installation import installation, opened, say, set_up_logs
from api.cli.language import name_in_use, tell
from api.cli.options import Language
from api.cli.simulate import duration_s
from api.cli.up import clock_text, run_loop, stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.cli.demo_park import DemoPark, Snapshot
    from api.settings import Settings
    from twin.flows.read_site import SiteFiles
    from twin.flows.verify_site import Proof

DEFAULT_PORT = 8080
DRAW_EVERY_S = 0.5
SAY_EVERY_S = 5.0
PROVE_WITHIN_S = 120.0


def demo(
    headless: Annotated[bool, typer.Option("--headless", help="No live view; a line now and then.")] = False,
    seconds: Annotated[str | None, typer.Option("--for", help="Stop after so long: 60s, 5m.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the counters and the proof here.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port of the HTTP API.", min=1, max=65535)] = None,
    rate: Annotated[float, typer.Option("--rate", help="How fast the clock runs.", min=0.1, max=1000)] = 60.0,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data folder.")] = False,
    data: Annotated[Path | None, typer.Option("--data", help="Empty folder for the data; it is kept.")] = None,
    _lang: Language = None,
) -> None:
    """Watch a park of 220 merchants being metered, charged, warned, cut off and reconnected, then prove the books."""
    from api.cli.demo_park import PARK
    from api.cli.site import read

    for_s = None if seconds is None else duration_s(seconds)
    folder = _fresh_folder(data)
    _log_to_file(folder)
    passed = False
    try:
        settings = _settings(folder, port, rate)
        files = read(PARK / "site.yaml")
        run = _Demonstration(files, headless=headless, for_s=for_s, json_file=json)
        with installation(settings, say, broker=True) as found:
            run_loop(run.whole(found.settings))
        passed = run.passed
    finally:
        _leave(folder, keep=keep or data is not None or not passed)
    if not passed:
        raise typer.Exit(FAILED)


class _Demonstration:
    """One run from the first table in the database to the proof."""

    def __init__(self, files: SiteFiles, *, headless: bool, for_s: float | None, json_file: Path | None) -> None:
        self.files = files
        self.site: str = files.document.site["site"]
        self.headless = headless
        self.for_s = for_s
        self.json_file = json_file
        self.stop = asyncio.Event()
        self.passed = False

    async def whole(self, settings: Settings) -> None:
        """Start, show, stop, prove."""
        from api.cli.demo_park import DemoPark
        from api.cli.site import import_files
        from api.services import Services

        stop_on_signals(self.stop, self._told)
        platform = await opened(settings, say)
        imported = await import_files(platform, self.files)
        say(
            tell(
                f"已导入园区：{len(imported.difference.lines)} 项",
                f"park imported: {len(imported.difference.lines)} items",
            )
        )
        park = DemoPark(platform, Services(platform), self.site, _names(self.files))
        try:
            await park.start(self.stop)
            await self._announce(park, settings)
            snapshot = await self._show(park, settings)
            say(tell("停止设备，等待账本……", "stopping the devices, waiting for the ledger ..."))
            await park.stop_fleet()
            await park.until_posted()
            proofs = await self._prove(park)
            snapshot = await park.snapshot()
        finally:
            left = await park.stop()
            _forget(settings)
            if left:
                _give_up(left, settings.data_dir)
        self._conclude(park, snapshot, proofs)

    async def _announce(self, park: DemoPark, settings: Settings) -> None:
        """Leave the note for other commands, make the tenants' token and start the fleet."""
        from api.cli.demo_park import new_secret_file
        from api.cli.running import Running, note_running

        platform, folder = park.platform, settings.data_dir
        clock = clock_text(platform)
        running = Running(
            os.getpid(), settings.redis_url, settings.mqtt_url, settings.database_url, clock, park.api_url
        )
        note_running(folder, running)
        admin = new_secret_file(folder, "admin-token", settings.admin_token)
        secret = secrets.token_urlsafe(32)
        await platform.tokens.create(
            name="simulated-tenants", role="finance", secret=secret, site=self.site, tenant=None, who="demo",
            now=platform.clock.now(),
        )  # fmt: skip
        say(f"{park.api_url}/schema   {tell('管理员令牌', 'administrator token')}: {admin}")
        say(tell("启动设备：220 家商户", "starting the devices of 220 merchants"))
        await park.start_fleet(new_secret_file(folder, "tenants-token", secret), folder / "fleet.log")

    async def _show(self, park: DemoPark, settings: Settings) -> Snapshot:
        if self.headless:
            return await self._until_over(park, SAY_EVERY_S, self._say_snapshot(park))
        from rich.console import Console
        from rich.live import Live

        from api.cli.live_view import render

        title = name_in_use(self.files.document.site.get("name", {}), self.site)
        zone = self.files.document.site["timezone"]
        with Live(console=Console(), screen=False, auto_refresh=False, transient=True) as live:

            def draw(snapshot: Snapshot) -> None:
                live.update(
                    render(snapshot, park.watch, zone, title, f"{park.api_url}  {settings.mqtt_url}"), refresh=True
                )

            return await self._until_over(park, DRAW_EVERY_S, draw)

    async def _until_over(self, park: DemoPark, every_s: float, show: Callable[[Snapshot], None]) -> Snapshot:
        """Show the park until the time is up, somebody asks to stop, or something ends that should not."""
        loop = asyncio.get_running_loop()
        until = None if self.for_s is None else loop.time() + self.for_s
        while not self.stop.is_set() and (until is None or loop.time() < until):
            if park.failure:
                raise CommandError(f"{park.failure}; see {park.platform.settings.data_dir}")
            show(await park.snapshot())
            left_s = every_s if until is None else min(every_s, max(0.0, until - loop.time()))
            await asyncio.wait({waiting := asyncio.create_task(self.stop.wait())}, timeout=left_s)
            waiting.cancel()
        snapshot = await park.snapshot()
        show(snapshot)
        return snapshot

    def _say_snapshot(self, park: DemoPark) -> Callable[[Snapshot], None]:
        from api.cli.park_watch import yuan

        def line(snapshot: Snapshot) -> None:
            watch = park.watch
            facts = (
                (tell("读数", "readings"), snapshot.readings),
                (tell("报文/秒", "messages/s"), f"{snapshot.messages_per_s:.0f}"),
                (tell("已扣费", "charged"), yuan(snapshot.charges_nano)),
                (tell("低余额", "low balance"), watch.low_balance_alarms),
                (tell("断供", "cutoffs"), watch.cutoffs),
                (tell("充值", "recharges"), watch.recharges),
                (tell("恢复", "reconnections"), watch.reconnections),
                (tell("账本滞后", "ledger lag"), snapshot.ledger_lag),
            )
            say(", ".join(f"{name} {value}" for name, value in facts))

        return line

    async def _prove(self, park: DemoPark) -> list[Proof]:
        from api.cli.demo_stop import in_time
        from api.cli.verify import prove_all

        stands = [tell("核对账目", "proving the books")]
        proofs: list[Proof] = []

        async def prove() -> None:
            await park.count_payments()
            proofs.extend(await prove_all(park.platform, only=self.site, progress=stands.append))

        await in_time(prove(), lambda: stands[-1], within_s=PROVE_WITHIN_S)
        return proofs

    def _conclude(self, park: DemoPark, snapshot: Snapshot, proofs: list[Proof]) -> None:
        from api.cli.verify import show

        self.passed = all(proof.ok for proof in proofs)
        show(proofs)
        if self.json_file is not None:
            text = json_text.dumps(_counters(park, snapshot, proofs), ensure_ascii=False, indent=2)
            try:
                self.json_file.write_text(text + "\n", encoding="utf-8")
            except OSError as error:
                raise CommandError(f"{self.json_file}: cannot be written: {error.strerror}") from None

    def _told(self, _text: str) -> None:
        say(tell("正在停止；再按一次立即退出", "stopping; once more to stop at once"))


def _counters(park: DemoPark, snapshot: Snapshot, proofs: list[Proof]) -> dict[str, Any]:
    from api.cli.verify import as_json

    watch = park.watch
    return {
        "readings": snapshot.readings,
        "messages": snapshot.messages,
        "messages_per_s": round(park.mean_rate(), 1),
        "dead_letters": snapshot.dead,
        "charges_nano": snapshot.charges_nano,
        "balance_nano": snapshot.balance_nano,
        "low_balance_alarms": watch.low_balance_alarms,
        "cutoffs": watch.cutoffs,
        "recharges": watch.recharges,
        "recharged_nano": watch.recharged_nano,
        "reconnections": watch.reconnections,
        "commands": watch.commands(),
        "verify": as_json(proofs),
    }


def _settings(folder: Path, port: int | None, rate: float) -> Settings:
    """Settings of a demonstration: its own folder, embedded servers, a clock that starts when the park's day does."""
    import msgspec

    from api.bootstrap import is_free, who_listens
    from api.cli.options import settings_of

    wanted = port or DEFAULT_PORT
    if not is_free(wanted):
        free = _any_port()
        say(tell(
            f"端口 {wanted} 被 {who_listens(wanted)} 占用，改用 {free}",
            f"port {wanted} is taken by {who_listens(wanted)}; using {free}",
        ))  # fmt: skip
        wanted = free
    settings = settings_of(None, data=str(folder), http=f"127.0.0.1:{wanted}", clock=_clock(rate), host="demo")
    token = settings.admin_token or secrets.token_urlsafe(32)
    return msgspec.structs.replace(settings, mqtt_url="", redis_url="", database_url="", admin_token=token)


def _clock(rate: float) -> str:
    """A scaled clock from the start of the park's scenario, a working-day morning."""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from api.cli.demo_park import PARK
    from schemas.documents import load_checked

    fleet = load_checked(PARK / "fleet.yaml", "fleet").data
    start = datetime.fromisoformat(fleet["start"]).replace(tzinfo=ZoneInfo(fleet["timezone"]))
    return f"scaled:{start.isoformat()},{rate!r}"


def _names(files: SiteFiles) -> dict[str, dict[str, str]]:
    """Tenants' names by id."""
    names = {}
    for tenant in files.document.site.get("tenants", ()):
        name = tenant.get("name", tenant["id"])
        names[tenant["id"]] = name if isinstance(name, dict) else {"zh": name}
    return names


def _any_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fresh_folder(data: Path | None) -> Path:
    if data is None:
        return Path(tempfile.mkdtemp(prefix="twinmeter-demo-"))
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise WrongUsageError(f"--data {data} is not an empty folder; a demonstration starts from nothing")
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongUsageError(f"--data {data} cannot be made: {error.strerror}") from None
    return data.resolve()


def _log_to_file(folder: Path) -> None:
    set_up_logs("info", (folder / "demo.log").open("a", encoding="utf-8", buffering=1))


def _give_up(left: str, folder: Path) -> None:
    """End the process although something in it does not end: the loop would wait for the same, and for ever. Child
    servers go with us."""
    from api.cli.errors import report

    error = sys.exception()
    if error is not None:
        report(error)
    say(tell(f"错误：没有停下来的：{left}", f"error: these did not stop: {left}"))
    _leave(folder, keep=True)
    os._exit(FAILED)


def _forget(settings: Settings) -> None:
    from api.cli.running import forget_running

    forget_running(settings.data_dir)


def _leave(folder: Path, *, keep: bool) -> None:
    if keep:
        say(tell(f"数据保留在 {folder}", f"the data is kept in {folder}"))
    else:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stderr.flush()
