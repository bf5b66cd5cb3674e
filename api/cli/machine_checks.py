"""What a machine must have: a readable configuration, Python, a folder to write to, room on the disk, a free port."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING

from api.cli.check import Check
from api.cli.language import tell
from api.cli.simulate import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from api.cli.running import Running
    from api.settings import Settings

PYTHON = (3, 11)
LITTLE_ROOM = 2 * 1024**3
NO_ROOM = 200 * 1024**2
NEEDED = ("redis", "tortoise-orm", "litestar", "mqtt5", "aiomqtt", "uvicorn", "jsonschema-rs", "orjson", "holidays")


def configuration(settings: Settings) -> Check:
    """The settings in force, secrets blotted out."""
    shown = {name: value for name, value in settings.shown().items() if value}
    return Check(tell("配置", "configuration"), "ok", ", ".join(f"{name}={value}" for name, value in shown.items()))


def python() -> Check:
    """Interpreter and packages."""
    name = "Python"
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < PYTHON:
        return Check(name, "failed", version, tell("需要 Python 3.11 或更高版本", "use Python 3.11 or newer"))
    missing = [package for package in NEEDED if not _installed(package)]
    if missing:
        return Check(name, "failed", f"{version}, {tell('缺少', 'missing')}: {', '.join(missing)}", "pip install -e .")
    return Check(name, "ok", version)


def data_folder(folder: Path) -> Check:
    """The data folder can be made and written to."""
    name = tell("数据目录", "data folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as error:
        remedy = tell(
            "用 --data 或 TWINMETER_DATA 指定可写目录", "name a writable folder with --data or TWINMETER_DATA"
        )
        return Check(name, "failed", f"{folder}: {error.strerror}", remedy)
    return Check(name, "ok", str(folder.resolve()))


def printing() -> Check:
    """A font with Chinese glyphs, which bills are printed in."""
    from api.bootstrap import open_font
    from billing.tables import DocumentError

    name = tell("打印字体", "printing font")
    try:
        return Check(name, "ok", open_font().path)
    except DocumentError as error:
        return Check(name, "warning", tell("没有，不能打印账单", "none: bills cannot be printed"), str(error))


def disk_space(folder: Path) -> Check:
    """Room on the disk of the data folder."""
    name = tell("磁盘空间", "disk space")
    place = next((path for path in (folder, *folder.resolve().parents) if path.exists()), ROOT)
    free = shutil.disk_usage(place).free
    found = f"{free / 1024**3:.1f} GiB"
    if free >= LITTLE_ROOM:
        return Check(name, "ok", found)
    remedy = tell("清理磁盘，或把数据目录放到别处", "make room, or put the data folder elsewhere")
    return Check(name, "failed" if free < NO_ROOM else "warning", found, remedy)


def http_port(settings: Settings, running: Running | None) -> Check:
    """The port of the HTTP API is free, or ours."""
    from api.bootstrap import is_free, who_listens

    name = tell("HTTP 端口", "HTTP port")
    host, port = settings.http_address
    if port == 0 or is_free(port) or (running is not None and running.http_url.endswith(f":{port}")):
        return Check(name, "ok", f"{host}:{port}")
    remedy = tell(f"停止它，或用 --http {host}:PORT 换一个端口", f"stop it, or choose another with --http {host}:PORT")
    return Check(name, "warning", f"{port}: {who_listens(port)}", remedy)


def profiles() -> Check:
    """The recorded load profiles of the simulators are there; only `demo` and `simulate` need them."""
    name = tell("负荷曲线", "load profiles")
    files = sorted((ROOT / "simulators" / "data").glob("*.csv.gz"))
    if files:
        return Check(name, "ok", ", ".join(file.name for file in files))
    remedy = tell("重新检出 simulators/data，演示需要它", "check out simulators/data again; the demo needs it")
    return Check(name, "warning", tell("没有找到", "none found"), remedy)


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
