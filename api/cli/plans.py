"""`twinmeter switch plan ...`: schedules (定时通断) and load limits (限负载) of circuits, without writing a rule."""

from __future__ import annotations

import json as json_text
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.language import tell
from api.cli.on_site import Key, Place, Why, caller, on_site
from schemas.documents import DocumentError, read_document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from api.bootstrap import Platform
    from twin.ports import Caller, Outcome

app = typer.Typer(help="Schedules and load limits of circuits.", no_args_is_help=True)
Kind = Annotated[str, typer.Argument(help="schedules or limits.")]
Name = Annotated[str, typer.Argument(help="Name of the plan.")]
File = Annotated[Path, typer.Argument(help="YAML or JSON: `off` and `special`, or `limit_w` and `at`.")]
Devices = Annotated[list[str], typer.Argument(help="Devices.")]
KINDS = ("schedules", "limits")


@app.command("list")
@on_site
def list_plans(place: Place) -> None:
    """Every schedule and limit, with the devices that have it."""

    async def near(platform: Platform, site: str) -> Any:
        return await platform.plans.plans(site)

    found = place.ask(lambda far: far.get("plans"), near)
    if place.json:
        print(json_text.dumps(found, ensure_ascii=False, indent=2))
        return
    for kind in KINDS:
        for name, plan in found[kind].items():
            shown = {key: value for key, value in plan.items() if key != "devices"}
            print(f"{kind}  {name}  {json_text.dumps(shown, ensure_ascii=False)}")
            print(tell(f"    {len(plan['devices'])} 台设备", f"    {len(plan['devices'])} devices"))


@app.command()
@on_site
def preview(place: Place, kind: Kind, file: File) -> None:
    """What a plan in a file would mean in the next seven days; changes nothing."""
    plan = _read(kind, file)

    async def near(platform: Platform, site: str) -> Any:
        from api.http.routes.plans import outlook

        given = (plan, None) if kind == "schedules" else (None, plan)
        return msgspec.to_builtins(outlook(given, platform.clock.now(), 7, await platform.reports.zone(site)))

    _tell(place, place.ask(lambda far: far.post("plans", kind, "preview", body=plan), near))


@app.command()
@on_site
def show(place: Place, device: Annotated[str, typer.Argument(help="Id of the device.")]) -> None:
    """The next seven days of a circuit."""

    async def near(platform: Platform, site: str) -> Any:
        from api.http.backend import group_of_device
        from api.http.routes.plans import outlook

        group = await group_of_device(platform, site, device)
        contract = group.breaker_contracts.get(device) if group is not None else None
        if contract is None:
            raise CommandError(f"{device} has no relay or valve that could be switched")
        given = (contract.schedule, contract.load_limit)
        return msgspec.to_builtins(outlook(given, platform.clock.now(), 7, await platform.reports.zone(site)))

    _tell(place, place.ask(lambda far: far.get("devices", device, "plan"), near))


@app.command("set")
@on_site
def set_plan(place: Place, kind: Kind, name: Name, file: File, why: Why, key: Key = None) -> None:
    """Give a plan in a file a name, or change it for all that have it: they follow at once."""
    plan = _read(kind, file)
    key = key or uuid.uuid4().hex
    sent = {**plan, "reason": why}
    act = _act(why, key, lambda platform, site, by: platform.plans.define(site, kind, name, plan, by))
    _changed(place, place.ask(lambda far: far.put("plans", kind, name, body=sent, key=key), act))


@app.command()
@on_site
def assign(
    place: Place,
    kind: Kind,
    name: Annotated[str, typer.Argument(help="Name of the plan; `-` takes theirs off.")],
    devices: Devices,
    why: Why,
    key: Key = None,
) -> None:
    """Give devices a plan: they follow at once."""
    _check_kind(kind)
    plan, key = None if name == "-" else name, key or uuid.uuid4().hex
    sent = {"devices": devices, "plan": plan, "reason": why}
    act = _act(why, key, lambda platform, site, by: platform.plans.assign(site, kind, devices, plan, by))
    _changed(place, place.ask(lambda far: far.post("plans", kind, "assignments", body=sent, key=key), act))


@app.command()
@on_site
def remove(place: Place, kind: Kind, name: Name, why: Why, key: Key = None) -> None:
    """Take a plan that no device has any more out of the site."""
    _check_kind(kind)
    key = key or uuid.uuid4().hex
    act = _act(why, key, lambda platform, site, by: platform.plans.define(site, kind, name, None, by))
    _changed(place, place.ask(lambda far: far.delete("plans", kind, name, key=key, reason=why), act))


def _act(
    why: str, key: str, act: Callable[[Platform, str, Caller], Awaitable[Outcome]]
) -> Callable[[Platform, str], Any]:
    async def near(platform: Platform, site: str) -> Any:
        from api.http.acts import deliver

        outcome = await act(platform, site, caller(why, key, platform.clock.now()))
        for pending in outcome.acts:
            await deliver(platform, pending)
        return outcome.body

    return near


def _read(kind: str, file: Path) -> dict[str, Any]:
    """A plan from a file, checked as the API checks it. Raises WrongUsageError."""
    from api.http.problems import Problem
    from api.http.routes.plans import PlanBody

    _check_kind(kind)
    try:
        return msgspec.convert(read_document(file).data, PlanBody).plan(kind)
    except (DocumentError, msgspec.ValidationError) as error:
        raise WrongUsageError(f"{file}: {error}") from None
    except Problem as error:
        raise WrongUsageError(f"{file}: {error.detail}") from None


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise WrongUsageError(f"{kind!r}: write schedules or limits")


def _tell(place: Place, seen: dict[str, Any]) -> None:
    if place.json:
        print(json_text.dumps(seen, ensure_ascii=False, indent=2))
        return
    for row in seen["off"]:
        print(tell(f"断开  {row['words']}", f"off  {row['words']}"))
    for row in seen["limits"]:
        print(tell(f"限 {row['limit_w']} W  {row['words']}", f"{row['limit_w']} W  {row['words']}"))
    if not seen["off"] and not seen["limits"]:
        print(tell("未来七天无计划动作", "nothing is planned in the next seven days"))


def _changed(place: Place, done: dict[str, Any]) -> None:
    if place.json:
        print(json_text.dumps(done, ensure_ascii=False, indent=2))
        return
    for line in done["lines"]:
        print(line)
    print(tell(f"已通知 {done['groups']} 组设备", f"{done['groups']} groups of devices follow"))
