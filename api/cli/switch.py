"""`twinmeter switch ...`: breakers by a person's order, one or many: preview, start, watch, stop, resume, report."""

from __future__ import annotations

import json as json_text
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.language import language, tell
from api.cli.on_site import Key, Place, Why, caller, on_site, user
from api.cli.switch_text import job_line, show_job, tell_preview

if TYPE_CHECKING:
    from api.bootstrap import Platform
    from api.http.bulk_bodies import SwitchPreviewRequest

app = typer.Typer(help="Switch breakers and valves: one, or many with preview and report.", no_args_is_help=True)
Job = Annotated[str, typer.Argument(help="Id of the job, such as S3.")]
Operation = Annotated[str, typer.Argument(help="open (off) or close (on again).")]
Everything = Annotated[bool, typer.Option("--all", help="Every breaker and valve of the site.")]
Devices = Annotated[list[str] | None, typer.Option("--device", help="A device; can be given often.")]
DeviceFile = Annotated[Path | None, typer.Option("--devices-from", help="A file with a device id a line.")]
Tenants = Annotated[list[str] | None, typer.Option("--tenant", help="A tenant; can be given often.")]
Groups = Annotated[list[str] | None, typer.Option("--group", help="A kind of tenant, such as a building.")]
Gateways = Annotated[list[str] | None, typer.Option("--gateway", help="What is behind a gateway.")]
Utility = Annotated[str, typer.Option("--utility", help="electricity or water alone.")]
Query = Annotated[str, typer.Option("--query", help="A condition of the rule language about the breaker.")]
Include = Annotated[
    list[str] | None, typer.Option("--include", help="guaranteed, critical, unreachable, opened_on_site.")
]
Lock = Annotated[str, typer.Option("--lock", help="manual or maintenance.")]


@app.command()
@on_site
def preview(
    place: Place,
    operation: Operation,
    everything: Everything = False,
    device: Devices = None,
    devices_from: DeviceFile = None,
    tenant: Tenants = None,
    group: Groups = None,
    gateway: Gateways = None,
    utility: Utility = "",
    query: Query = "",
    include: Include = None,
    lock: Lock = "manual",
) -> None:
    """Who would be switched, who is left out and why; changes nothing. Ends with the code to start it by."""
    names = (*_list(device), *_lines(devices_from))
    wish = _wish(operation, everything, names, tenant, group, gateway, utility, query, include, lock)
    seen = _preview(place, wish)
    if place.json:
        print(json_text.dumps(seen, ensure_ascii=False, indent=2))
    else:
        tell_preview(seen)


@app.command()
@on_site
def start(
    place: Place,
    operation: Operation,
    why: Why,
    everything: Everything = False,
    device: Devices = None,
    devices_from: DeviceFile = None,
    tenant: Tenants = None,
    group: Groups = None,
    gateway: Gateways = None,
    utility: Utility = "",
    query: Query = "",
    include: Include = None,
    lock: Lock = "manual",
    code: Annotated[str | None, typer.Option("--code", help="The preview's code; asked for if absent.")] = None,
    wave: Annotated[int, typer.Option("--wave", help="Breakers at once.", min=1, max=5000)] = 25,
    pause: Annotated[int, typer.Option("--pause", help="Seconds between two waves.", min=0, max=3600)] = 5,
    answer: Annotated[int, typer.Option("--answer", help="Seconds until silence.", min=1, max=3600)] = 120,
    most_failures: Annotated[int | None, typer.Option("--most-failures", help="Halt beyond so many.", min=0)] = None,
    most_percent: Annotated[int, typer.Option("--most-percent", help="Halt beyond this share.", min=0, max=100)] = 20,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", help="Stay and show the progress.")] = True,
    key: Key = None,
) -> None:
    """Order what a preview shows; more than the site allows at once waits for a second person."""
    names = (*_list(device), *_lines(devices_from))
    wish = _wish(operation, everything, names, tenant, group, gateway, utility, query, include, lock)
    if code is None:
        seen = _preview(place, wish)
        tell_preview(seen)
        code = _confirmed(seen)
    pace = {"wave": wave, "pause_s": pause, "answer_s": answer, "most_percent": most_percent}
    body = {**wish, **pace, "most_failures": most_failures, "code": code, "reason": why}
    job = _start(place, body, key or uuid.uuid4().hex)
    show_job(place, job)
    if watch and not place.json and job["state"] == "running":
        _watch(place, job["id"])


@app.command("list")
@on_site
def list_jobs(place: Place, limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 20) -> None:
    """Jobs, newest first."""

    async def near(platform: Platform, site: str) -> Any:
        from api.http.bulk_bodies import job_body

        return {"items": [_plain(job_body(job)) for _, job in await platform.switching.book.jobs(site, limit=limit)]}

    found = place.ask(lambda far: far.get("switch-jobs", limit=limit), near)["items"]
    if place.json:
        print(json_text.dumps(found, ensure_ascii=False, indent=2))
        return
    if not found:
        print(tell("没有批量任务", "no jobs"))
    for job in found:
        print(job_line(job))


@app.command()
@on_site
def show(place: Place, job: Job) -> None:
    """How far a job is."""
    show_job(place, _job(place, job))


@app.command()
@on_site
def watch(place: Place, job: Job) -> None:
    """Follow a job until it has ended, waits for a person, or is stopped; Ctrl-C leaves it running."""
    _watch(place, job)


@app.command()
@on_site
def stop(place: Place, job: Job, why: Why) -> None:
    """Send nothing more for now."""
    _move(place, job, "stop", why)


@app.command()
@on_site
def resume(place: Place, job: Job, why: Why) -> None:
    """Go on with those that wait; failures so far are not counted again."""
    _move(place, job, "resume", why)


@app.command()
@on_site
def cancel(place: Place, job: Job, why: Why) -> None:
    """End a job; what it has locked stays locked."""
    _move(place, job, "cancel", why)


@app.command()
@on_site
def undo(place: Place, job: Job, why: Why, key: Key = None) -> None:
    """Release the locks that a job has placed, wherever they still stand."""
    key = key or uuid.uuid4().hex

    async def near(platform: Platform, site: str) -> Any:
        from api.http.bulk_bodies import job_body

        made, _ = await platform.switching.undo(site, job, caller(why, key, platform.clock.now()))
        return _plain(job_body(made))

    path = ("switch-jobs", job, "undo")
    show_job(place, place.ask(lambda far: far.post(*path, body={"reason": why}, key=key), near))


@app.command()
@on_site
def report(
    place: Place,
    job: Job,
    out: Annotated[Path | None, typer.Option("--out", help="A .csv, .xlsx or .pdf file; else on the screen.")] = None,
) -> None:
    """What came of every breaker and why; those that need somebody stand first."""
    form = out.suffix.removeprefix(".").lower() if out is not None else "csv"
    if form not in ("csv", "xlsx", "pdf"):
        raise WrongUsageError(f"--out {out}: the name ends with .csv, .xlsx or .pdf")

    async def near(platform: Platform, site: str) -> bytes:
        from api.switch_report import report_file

        known = await platform.switching.book.job(site, job)
        if known is None:
            raise CommandError(f"unknown_job: site {site} has no switching job {job!r}")
        steps = await platform.switching.steps(site, job)
        positions = await platform.switching.positions(site, steps)
        zone = await platform.reports.zone(site)
        parts = report_file(
            platform.documents, known, steps, positions, form=form, zone=zone, language=language() or "both"
        )
        return b"".join(parts)

    data = place.ask(lambda far: far.download("switch-jobs", job, "report", format=form, lang=language()), near)
    if out is not None:
        out.write_bytes(data)
        print(tell(f"已写入 {out}", f"written to {out}"))
    else:
        sys.stdout.write(data.decode("utf-8-sig"))


def _list(names: list[str] | None) -> list[str]:
    return names or []


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise WrongUsageError(f"--devices-from {file}: {error.strerror}") from None


def _wish(
    operation: str,
    everything: bool,
    devices: tuple[str, ...],
    tenant: list[str] | None,
    group: list[str] | None,
    gateway: list[str] | None,
    utility: str,
    query: str,
    include: list[str] | None,
    lock: str,
) -> dict[str, Any]:
    """The body of a preview. Raises WrongUsageError for what the API would refuse."""
    from api.http.bulk_bodies import SwitchPreviewRequest

    select = {
        "everything": everything,
        "devices": list(devices),
        "tenants": _list(tenant),
        "groups": _list(group),
        "gateways": _list(gateway),
        "utility": utility,
        "query": query,
    }
    wish = {"operation": operation, "select": select, "include": _list(include), "lock": lock}
    _checked(wish, SwitchPreviewRequest)
    return wish


def _checked(body: dict[str, Any], kind: type[Any]) -> Any:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise WrongUsageError(str(error)) from None


def _preview(place: Place, wish: dict[str, Any]) -> dict[str, Any]:
    async def near(platform: Platform, site: str) -> Any:
        from api.http.bulk_bodies import SwitchPreviewRequest, preview_body
        from twin.flows.switch_in_bulk import SelectionError

        request: SwitchPreviewRequest = _checked(wish, SwitchPreviewRequest)
        try:
            seen = await platform.switching.preview(site, request.wish(), request.select.selection())
        except SelectionError as error:
            raise WrongUsageError(f"{error.field}: {error}") from None
        by = caller("", "", platform.clock.now())
        wanted = (len(seen.taking_part), request.wish().operation, by.who, by.ts)
        asks = await platform.switching.book.needs_approval(site, *wanted)
        return _plain(preview_body(seen, needs_approval=asks))

    found: dict[str, Any] = place.ask(lambda far: far.post("switch-previews", body=wish), near)
    return found


def _start(place: Place, body: dict[str, Any], key: str) -> dict[str, Any]:
    async def near(platform: Platform, site: str) -> Any:
        from api.http.bulk_bodies import SwitchRequest, job_body
        from twin.switched import NewJob

        request: SwitchRequest = _checked(body, SwitchRequest)
        order = NewJob(request.wish(), request.select.selection(), request.pace(), ())
        by = caller(request.reason, key, platform.clock.now())
        job, _ = await platform.switching.start(site, order, by, code=request.code)
        return _plain(job_body(job))

    done: dict[str, Any] = place.ask(lambda far: far.post("switch-jobs", body=body, key=key), near)
    return done


def _job(place: Place, job: str) -> dict[str, Any]:
    async def near(platform: Platform, site: str) -> Any:
        from api.http.bulk_bodies import job_body

        known = await platform.switching.book.job(site, job)
        if known is None:
            raise CommandError(f"unknown_job: site {site} has no switching job {job!r}")
        return _plain(job_body(known))

    found: dict[str, Any] = place.ask(lambda far: far.get("switch-jobs", job), near)
    return found


def _move(place: Place, job: str, how: str, why: str) -> None:
    async def near(platform: Platform, site: str) -> Any:
        from api.http.bulk_bodies import job_body

        return _plain(job_body(await platform.switching.book.move(site, job, how, user(), why, platform.clock.now())))

    show_job(place, place.ask(lambda far: far.post("switch-jobs", job, how, body={"reason": why}), near))


def _watch(place: Place, job: str) -> None:
    """A line for every change; ends when nothing more happens by itself."""
    last = ""
    while True:
        now = _job(place, job)
        line = job_line(now)
        if line != last:
            print(line, flush=True)
            last = line
        if now["state"] != "running" and not now["tally"]["sent"]:
            return
        time.sleep(1.0)


def _plain(body: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(body)
    return plain


def _confirmed(seen: dict[str, Any]) -> str:
    """The preview's code once a person has typed how many it is about."""
    count = str(seen["taking_part"])
    if seen["taking_part"] == 0:
        raise CommandError(tell("没有可操作的设备", "nothing would be switched"))
    if not sys.stdin.isatty():
        raise WrongUsageError(f"nobody is there to confirm: give --code {seen['code']} after looking at the preview")
    typed = typer.prompt(tell(f"确认操作 {count} 台设备，请输入数量", f"type {count} to switch {count} devices"))
    if typed.strip() != count:
        raise CommandError(tell("已放弃", "given up, nothing was done"))
    return str(seen["code"])
