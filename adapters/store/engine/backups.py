"""Backups of the database: a folder with one file and a manifest that says what must come back out of it.

Theory of operation. SQLite is copied by its own backup call, which sees one instant while others write; PostgreSQL by
`pg_dump` in its custom format, which does the same. What the manifest says of each site is read from the copy itself
(SQLite) or from the very snapshot that is dumped (PostgreSQL); a restore reads it again and compares. Files are written
under another name and renamed at the end, so half a backup never looks like a whole one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import msgspec

from adapters.store.engine.database import open_database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Database, Row

MANIFEST: Final = "manifest.json"
FORMAT: Final = "twinmeter.backup/v1"
FILES: Final = {"sqlite": "ledger.sqlite3", "postgres": "ledger.pgdump"}
_CHUNK: Final = 1 << 20
_SITES: Final = (
    "SELECT s.id, s.journal_seq, s.journal_hash, s.generation, s.ledger_position,"
    " (SELECT count(*) FROM payment p WHERE p.site = s.id), (SELECT max(a.id) FROM act a WHERE a.site = s.id)"
    " FROM site s ORDER BY s.id"
)


class BackupError(RuntimeError):
    """A backup cannot be made, read or restored; the text says why and what would be right."""


class SiteMark(msgspec.Struct, frozen=True):
    """What one site's ledger must look like after a restore."""

    site: str
    journals: int
    chain_head: str
    """Hash of the last journal, hexadecimal."""
    generation: int
    position: str
    payments: int
    newest_act: int


class Manifest(msgspec.Struct, frozen=True):
    """The manifest of a backup; `taken_ts` is Unix ms."""

    format: str
    engine: str
    file: str
    bytes: int
    sha256: str
    taken_ts: int
    sites: tuple[SiteMark, ...]


async def create_backup(url: str, folder: Path, *, now: int) -> Manifest:
    """Back a database up into a folder that does not exist yet. Raises BackupError."""
    if await asyncio.to_thread(folder.exists):
        raise BackupError(f"{folder} exists; a backup goes into a folder of its own")
    making = folder.with_name(f".{folder.name}.{os.getpid()}")
    making.mkdir(parents=True, mode=0o700)
    try:
        engine = _engine(url)
        target = making / FILES[engine]
        if engine == "sqlite":
            await asyncio.to_thread(_copy_sqlite, _sqlite_path(url), target)
            sites = await _marks(f"sqlite:///{target}")
            for left in making.glob(f"{target.name}-*"):
                left.unlink()
        else:
            sites = await _dump_postgres(url, target)
        digest = await asyncio.to_thread(_sha256, target)
        manifest = Manifest(FORMAT, engine, target.name, target.stat().st_size, digest, now, sites)
        (making / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        making.rename(folder)
        return manifest
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"the backup into {folder} failed: {error}") from None
    finally:
        shutil.rmtree(making, ignore_errors=True)


def read_backup(folder: Path) -> Manifest:
    """The manifest of a backup whose file is whole. Raises BackupError with what is wrong."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BackupError(f"{folder} holds no {MANIFEST}, so it is no backup") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise BackupError(f"{folder / MANIFEST} cannot be read: {error}") from None
    file = folder / manifest.file
    if manifest.format != FORMAT or file.name != FILES.get(manifest.engine) or not file.is_file():
        raise BackupError(f"{folder}: the manifest names {manifest.file!r} of {manifest.format!r}, which is not there")
    if file.stat().st_size != manifest.bytes:
        raise BackupError(f"{file} has {file.stat().st_size} bytes, its manifest says {manifest.bytes}")
    if _sha256(file) != manifest.sha256:
        raise BackupError(f"{file} is not what was backed up: its SHA-256 differs from the manifest's")
    return manifest


async def verify_backup(folder: Path) -> Manifest:
    """The file is whole and can be opened, and (SQLite) holds what the manifest says. Raises BackupError."""
    manifest = await asyncio.to_thread(read_backup, folder)
    file = folder / manifest.file
    if manifest.engine == "sqlite":
        await asyncio.to_thread(_check_sqlite, file)
    else:
        await _run(["pg_restore", "--list", str(file)], "")
    return manifest


async def restore_backup(folder: Path, url: str, *, replace: bool = False) -> Manifest:
    """Put a backup in the place of a database that is empty, or with `replace` of what is there. Raises BackupError.

    Afterwards each site is held against the manifest: head of the chain, generation, position, payments, newest act.
    """
    manifest = await verify_backup(folder)
    if _engine(url) != manifest.engine:
        raise BackupError(f"the backup is of {manifest.engine}; {_engine(url)} cannot take it")
    if manifest.engine == "sqlite":
        await asyncio.to_thread(_restore_sqlite, folder / manifest.file, _sqlite_path(url), replace)
    else:
        await _restore_postgres(folder / manifest.file, url, replace)
    found = await _marks(url)
    if found != manifest.sites:
        raise BackupError(f"what came out of {folder} is not what its manifest says: {_difference(manifest, found)}")
    return manifest


def _restore_sqlite(file: Path, target: Path, replace: bool) -> None:
    there = [target, *target.parent.glob(f"{target.name}-*")] if target.exists() else []
    if there and not replace:
        raise BackupError(
            f"{target} exists; --replace puts the backup in its place and keeps it as {target.name}.before"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(file, fresh)
    if there:
        # With its journal it goes aside as one: a copy by SQLite itself, since renaming files would part them.
        _copy_sqlite(target, target.with_name(f"{target.name}.before"))
        for old in there:
            old.unlink()
    fresh.replace(target)


async def _restore_postgres(file: Path, url: str, replace: bool) -> None:
    database = await open_database(url, pool_size=1)
    try:
        tables = await database.fetch("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()")
        if tables[0][0] and not replace:
            raise BackupError("the database is not empty; --replace drops everything in it first")
        if tables[0][0]:
            async with database.write() as tx:
                await tx.execute("DROP SCHEMA public CASCADE")
                await tx.execute("CREATE SCHEMA public")
    finally:
        await database.close()
    # One transaction: a restore that fails leaves an empty database and not half a ledger.
    await _run(["pg_restore", "--no-owner", "--single-transaction", "--exit-on-error", *_place(url), str(file)], url)


async def _dump_postgres(url: str, target: Path) -> tuple[SiteMark, ...]:
    """The dump and the marks see one and the same instant: the snapshot that is exported to `pg_dump`."""
    database = await open_database(url, pool_size=1)
    try:
        async with database.snapshot() as tx:
            (snapshot,) = tuple((await tx.fetch("SELECT pg_export_snapshot()"))[0])
            dump = ["pg_dump", "--format=custom", "--no-owner", f"--snapshot={snapshot}", f"--file={target}"]
            await _run([*dump, *_place(url)], url)
            return _read_marks(await tx.fetch(_SITES))
    finally:
        await database.close()


def _copy_sqlite(source: Path, target: Path) -> None:
    if not source.is_file():
        raise BackupError(f"{source} does not exist, so there is nothing to back up")
    with sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30) as live, sqlite3.connect(target) as copy:
        live.backup(copy, pages=4_096, sleep=0.01)
        copy.execute("PRAGMA journal_mode=DELETE")
    live.close()
    copy.close()


def _check_sqlite(file: Path) -> None:
    try:
        with sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True) as copy:
            (said,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        copy.close()
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        raise BackupError(f"{file} is damaged: {said}")


async def _marks(url: str) -> tuple[SiteMark, ...]:
    database: Database = await open_database(url, pool_size=1)
    try:
        async with database.snapshot() as tx:
            return _read_marks(await tx.fetch(_SITES))
    finally:
        await database.close()


def _read_marks(rows: Sequence[Row]) -> tuple[SiteMark, ...]:
    return tuple(
        SiteMark(site, seq, bytes(head).hex(), generation, position, payments, act or 0)
        for site, seq, head, generation, position, payments, act in map(tuple, rows)
    )


def _difference(manifest: Manifest, found: tuple[SiteMark, ...]) -> str:
    wanted = {mark.site: mark for mark in manifest.sites}
    return (
        "; ".join(
            f"{mark.site} has {mark.journals} journals up to {mark.chain_head[:12]}"
            for mark in found
            if wanted.get(mark.site) != mark
        )
        or ", ".join(sorted(wanted.keys() - {mark.site for mark in found})) + " is missing"
    )


def _engine(url: str) -> str:
    return "sqlite" if url.startswith("sqlite://") else "postgres"


def _sqlite_path(url: str) -> Path:
    path = url.partition("://")[2]
    return Path("/" + path.lstrip("/")) if path.startswith("/") else Path(path)


def _place(url: str) -> list[str]:
    """Options of PostgreSQL's programs for a URL; the password goes by the environment, where nobody reads it."""
    parts = urlsplit(url)
    return [
        f"--host={parts.hostname or '127.0.0.1'}",
        f"--port={parts.port or 5432}",
        f"--username={unquote(parts.username or '')}",
        "--no-password",
        f"--dbname={parts.path.lstrip('/')}",
    ]


async def _run(command: list[str], url: str) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise BackupError(f"{command[0]} is not installed; it comes with PostgreSQL's client (postgresql-client)")
    password = urlsplit(url).password
    environment = os.environ | ({"PGPASSWORD": unquote(password)} if password else {})
    process = await asyncio.create_subprocess_exec(
        program,
        *command[1:],
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode:
        raise BackupError(f"{command[0]} failed: {said.decode(errors='replace').strip()[-1_000:]}")


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
