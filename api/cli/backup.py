"""`twinmeter backup create|verify|restore`: the database in a folder with a manifest, and back."""

from __future__ import annotations

import asyncio
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.errors import CommandError
from api.cli.installation import say, set_up_logs
from api.cli.language import tell
from api.cli.options import Config, Data, DatabaseUrl, Language, settings_of
from api.cli.running import find_running, with_running

if TYPE_CHECKING:
    from typing import Any

    from api.settings import Settings

app = typer.Typer(help="Backups of the database, with what must come back out of them.", no_args_is_help=True)

PREFIX = "twinmeter-"
Folder = Annotated[
    Path, typer.Argument(help="The folder of a backup.", exists=True, file_okay=False, resolve_path=True)
]


@app.command()
def create(
    to: Annotated[Path, typer.Option("--to", help="Folder that backups are kept in; each gets one of its own.")],
    keep: Annotated[int, typer.Option("--keep", help="Remove the oldest above so many; 0 keeps all.", min=0)] = 0,
    config: Config = None,
    data: Data = None,
    database_url: DatabaseUrl = None,
    _lang: Language = None,
) -> None:
    """Back the database up, also while it runs."""
    from api.bootstrap import create_backup

    settings = _settings(config, data, database_url)
    now = time.time_ns() // 1_000_000
    folder = to.resolve() / f"{PREFIX}{datetime.fromtimestamp(now / 1000, UTC):%Y%m%dT%H%M%SZ}"
    say(tell(f"正在备份到 {folder}", f"backing up into {folder}"))
    manifest = _run(create_backup(settings.database_url, folder, now=now))
    _tell(folder, manifest)
    if keep:
        for old in sorted(path for path in to.glob(f"{PREFIX}*") if (path / "manifest.json").is_file())[:-keep]:
            shutil.rmtree(old)
            say(tell(f"已删除旧备份 {old}", f"removed {old}"))


@app.command()
def verify(folder: Folder, _lang: Language = None) -> None:
    """The file is whole, can be opened, and is what the manifest says; exits 1 where not."""
    from api.bootstrap import verify_backup

    _tell(folder, _run(verify_backup(folder)))


@app.command()
def restore(
    folder: Folder,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of what is there.")] = False,
    config: Config = None,
    data: Data = None,
    database_url: DatabaseUrl = None,
    _lang: Language = None,
) -> None:
    """Put a backup into an empty database, or with `--replace` over what is there; stop all services first."""
    from api.bootstrap import restore_backup

    settings = settings_of(config, data=data, database_url=database_url)
    running = find_running(settings.data_dir)
    if running is not None:
        raise CommandError(f"{settings.data} is in use by pid {running.pid}: stop it first")
    settings = _settings(config, data, database_url)
    manifest = _run(restore_backup(folder, settings.database_url, replace=replace))
    _tell(folder, manifest)
    say(
        tell(
            "已恢复。启动账务服务后会重建孪生；备份之后的缴费须按渠道流水补录",
            "restored; the ledger rebuilds the twins when it starts; book payments after the backup again",
        )
    )


def _settings(config: Path | None, data: str | None, database_url: str | None) -> Settings:
    """Settings with the database named: the one given, that of a running `up`, or SQLite in the data folder."""
    import msgspec

    settings = settings_of(config, data=data, database_url=database_url)
    set_up_logs("warning")
    running = None if settings.database_url else find_running(settings.data_dir)
    if running is not None:
        settings = with_running(settings, running)
    if settings.database_url:
        return settings
    return msgspec.structs.replace(
        settings, database_url=f"sqlite:///{settings.data_dir.resolve() / 'twinmeter.sqlite3'}"
    )


def _run(work: Any) -> Any:
    from api.bootstrap import BackupError

    try:
        return asyncio.run(work)
    except BackupError as error:
        raise CommandError(str(error)) from None


def _tell(folder: Path, manifest: Any) -> None:
    taken = datetime.fromtimestamp(manifest.taken_ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    print(f"{folder}  {manifest.engine}  {manifest.bytes} bytes  {taken}  sha256 {manifest.sha256[:16]}")
    for mark in manifest.sites:
        print(
            f"  {mark.site}: {mark.journals} journals, chain head {mark.chain_head[:16]}, "
            f"generation {mark.generation}, posted to {mark.position}, {mark.payments} payments"
        )
