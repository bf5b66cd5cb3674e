"""`twinmeter switch open|close DEVICE`: one breaker or valve by a person's order, confirmed, watched until proved."""

from __future__ import annotations

import sys
import time
import uuid
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.language import tell
from api.cli.on_site import Key, Place, Why, on_site, user

if TYPE_CHECKING:
    from api.bootstrap import Platform

Device = Annotated[str, typer.Argument(help="Id of the breaker, valve, or meter that can switch.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; somebody has looked already.")]
Within = Annotated[int, typer.Option("--within", help="Seconds to wait for the proof; 0 does not wait.", min=0)]
SETTLED = frozenset({"verified", "satisfied", "rejected", "expired", "failed", "unverified", "superseded", "cancelled"})
GOOD = frozenset({"verified", "satisfied"})


@on_site
def open_one(place: Place, device: Device, why: Why, yes: Yes = False, within: Within = 60, key: Key = None) -> None:
    """Switch off: place the lock `manual`. For a valve: shut it."""
    _switch(place, device, "open", why, yes=yes, within=within, key=key)


@on_site
def close_one(place: Place, device: Device, why: Why, yes: Yes = False, within: Within = 60, key: Key = None) -> None:
    """Switch on again: release the lock `manual`. Other locks keep it off, and are named."""
    _switch(place, device, "close", why, yes=yes, within=within, key=key)


def _switch(place: Place, device: str, operation: str, why: str, *, yes: bool, within: int, key: str | None) -> None:
    twin = _twin(place, device)
    print(_told(twin))
    if not yes:
        _confirm(device, operation)
    is_valve = twin["kind"] in ("valve", "water_meter")
    target = "open" if (operation == "open") is not is_valve else "closed"
    key = key or uuid.uuid4().hex

    async def near(platform: Platform, site: str) -> Any:
        from api.http.problems import Problem
        from api.http.routes.switching import order_by_hand

        try:
            body = await order_by_hand(platform, site, device, target, (user(), why, key))
        except Problem as error:
            raise CommandError(f"{error.code}: {error.detail}") from None
        return {"state": body.state, "id": body.id}

    sent = {"target": target, "reason": why}
    done = place.ask(lambda far: far.post("devices", device, "commands", body=sent, key=key), near)
    print(f"{done['state']}  {done.get('id') or ''}")
    if within and done["state"] not in SETTLED:
        _wait(place, device, time.monotonic() + within)


def _wait(place: Place, device: str, deadline: float) -> None:
    """A line for every state of the command. Raises CommandError where it ends without proof, or in no time at all."""
    last = ""
    while time.monotonic() < deadline:
        command = _twin(place, device)["commanded"]
        if command and command["state"] != last:
            last = command["state"]
            print(f"{last}  {command['reason']}".rstrip(), flush=True)
        if last in GOOD:
            return
        if last in SETTLED:
            raise CommandError(tell(f"未能核实：{last}", f"not verified: {last}; the platform goes on trying"))
        time.sleep(0.5)
    raise CommandError(tell("等待超时，平台会继续执行", "no proof in time; the platform goes on trying"))


def _twin(place: Place, device: str) -> dict[str, Any]:
    """The twin as the API shows it. Raises CommandError for a device that switches nothing."""

    async def near(platform: Platform, site: str) -> Any:
        from api.http.backend import group_of_device
        from api.http.twin_views import device_view

        group = await group_of_device(platform, site, device)
        view = device_view(group, device) if group is not None else None
        return {} if view is None else msgspec.to_builtins(view)

    twin: dict[str, Any] = place.ask(lambda far: far.get("devices", device), near)
    if not twin.get("wanted"):
        raise CommandError(f"{device} has no relay or valve that could be switched")
    return twin


def _told(twin: dict[str, Any]) -> str:
    locks = "; ".join(f"{kind} ({lock['who']}: {lock['why']})" for kind, lock in twin["wanted"]["locks"].items())
    position = twin["reported"]["relay"] or "?"
    return f"{twin['id']}  {twin['tenant'] or '-'}  {position}  {twin['conn']['state']}  {locks}".rstrip()


def _confirm(device: str, operation: str) -> None:
    if not sys.stdin.isatty():
        raise WrongUsageError("nobody is there to confirm: give --yes after looking at the device")
    zh = "断开" if operation == "open" else "恢复"
    if not typer.confirm(tell(f"确认{zh} {device}？", f"{operation} {device}?"), default=False):
        raise CommandError(tell("已放弃", "given up, nothing was done"))
