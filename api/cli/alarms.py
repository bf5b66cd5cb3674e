"""`twinmeter alarms ...`: what stands, and what people make of it; works beside a running platform, too."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.instants import minute
from api.cli.language import tell
from api.cli.on_site import Place, on_data, user

if TYPE_CHECKING:
    from datetime import tzinfo

    from api.bootstrap import Platform

app = typer.Typer(help="Alarms: what stands, and what people make of it.", no_args_is_help=True)

MOST_SHOWN = 1_000
HEADS = (
    ("编号", "id"),
    ("级别", "severity"),
    ("规则", "rule"),
    ("对象", "twin"),
    ("开始", "since"),
    ("状态", "state"),
    ("负责人", "assignee"),
)
SHELVED: dict[str, Literal["hidden", "only", "shown"]] = {"hidden": "hidden", "only": "only", "shown": "shown"}

AlarmId = Annotated[int, typer.Argument(help="Number of the alarm, as `alarms list` shows it.", min=1)]
Who = Annotated[str | None, typer.Option("--who", help="Who does it; otherwise the user of this machine.")]
Key = Annotated[str | None, typer.Option("--key", help="The same key does it once, however often it is repeated.")]


@app.command("list")
@on_data
def list_alarms(
    place: Place,
    active: Annotated[
        bool | None, typer.Option("--active/--cleared", help="Only those that stand, or are over.")
    ] = None,
    acknowledged: Annotated[
        bool | None, typer.Option("--acknowledged/--unacknowledged", help="Only those seen, or not.")
    ] = None,
    shelved: Annotated[str, typer.Option("--shelved", help="hidden, only or shown.")] = "hidden",
    severity: Annotated[str | None, typer.Option("--severity", help="info, warning, minor, major or critical.")] = None,
    assignee: Annotated[str | None, typer.Option("--assignee", help="Those of this person; '': of nobody.")] = None,
) -> None:
    """Alarms, newest first; those put aside only where `--shelved` asks for them."""
    from rules.actions import SEVERITIES

    if shelved not in SHELVED:
        raise WrongUsageError(f"--shelved {shelved!r}: write one of {', '.join(SHELVED)}")
    if severity is not None and severity not in SEVERITIES:
        raise WrongUsageError(f"--severity {severity!r}: write one of {', '.join(SEVERITIES)}")
    wanted: dict[str, Any] = {
        "active": active,
        "acknowledged": acknowledged,
        "severity": severity,
        "assignee": assignee,
    }

    async def near(platform: Platform, name: str) -> list[Any]:
        now = platform.clock.now()
        page = await platform.alarms.page(name, now=now, shelved=SHELVED[shelved], limit=MOST_SHOWN, **wanted)
        return page.items

    _show(place.near(near), as_json=place.json)


@app.command()
@on_data
def show(place: Place, alarm: AlarmId) -> None:
    """One alarm with the evidence it rests on: the samples before and after a step of power."""

    async def near(platform: Platform, name: str) -> tuple[Any, Any, Any]:
        known = await platform.alarms.alarm(name, alarm, now=platform.clock.now())
        if known is None:
            raise CommandError(f"site {name!r} has no alarm {alarm}")
        return known, await platform.alarms.evidence(name, known), await platform.reports.zone(name)

    known, evidence, zone = place.near(near)
    if place.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode({"alarm": known, "evidence": evidence}), indent=2).decode())
        return
    _show([known], as_json=False)
    _show_evidence(evidence, zone)


@app.command()
@on_data
def ack(
    place: Place,
    alarm: AlarmId,
    comment: Annotated[str, typer.Option("--comment", help="Something to say with it.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take the acknowledgement back.")] = False,
    who: Who = None,
    key: Key = None,
) -> None:
    """Somebody has seen it; worse than now, it is unacknowledged again."""
    _care(place, alarm, "unack" if undo else "ack", who, key, text=comment)


@app.command()
@on_data
def assign(
    place: Place,
    alarm: AlarmId,
    assignee: Annotated[str, typer.Argument(help="Who takes care of it; '': nobody.")],
    who: Who = None,
    key: Key = None,
) -> None:
    """Say who takes care of it."""
    _care(place, alarm, "assign", who, key, assignee=assignee.strip())


@app.command()
@on_data
def comment(
    place: Place,
    alarm: AlarmId,
    text: Annotated[str, typer.Argument(help="What to say.")],
    who: Who = None,
    key: Key = None,
) -> None:
    """Say something; it stays in the alarm's history."""
    _care(place, alarm, "comment", who, key, text=text)


@app.command()
@on_data
def shelve(
    place: Place,
    alarm: AlarmId,
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    for_: Annotated[str, typer.Option("--for", help="How long, such as 8h or 2d; 90 days at most.")],
    who: Who = None,
    key: Key = None,
) -> None:
    """Put the rule's alarms of this twin aside: not notified, not listed, until then or until they are worse."""
    from schemas.durations import parse_duration

    try:
        length_ms = parse_duration(for_)
    except ValueError as error:
        raise WrongUsageError(f"--for {for_!r}: {error}") from None
    _care(place, alarm, "shelve", who, key, text=reason, for_ms=length_ms)


@app.command()
@on_data
def unshelve(place: Place, alarm: AlarmId, who: Who = None, key: Key = None) -> None:
    """End a shelf before its time."""
    _care(place, alarm, "unshelve", who, key)


def _care(
    place: Place,
    alarm: int,
    what: str,
    who: str | None,
    key: str | None,
    *,
    text: str = "",
    assignee: str = "",
    for_ms: int = 0,
) -> None:
    """Carry out one act and show the alarm as it is then."""
    from twin.ports import MoneyRefusedError

    async def near(platform: Platform, name: str) -> list[Any]:
        now = platform.clock.now()
        said: dict[str, Any] = {"text": text, "assignee": assignee, "until": now + for_ms if for_ms else 0}
        try:
            pending = await platform.alarms.care(
                name, alarm=alarm, what=what, who=who or user(), ts=now, key=key or str(uuid.uuid4()), **said
            )
        except (LookupError, ValueError, MoneyRefusedError) as error:
            raise CommandError(str(error)) from None
        if not await platform.delivery.deliver([pending]):
            await platform.delivery.sweep()
        after = await platform.alarms.alarm(name, alarm, now=now)
        return [] if after is None else [after]

    _show(place.near(near), as_json=place.json)


def _show(alarms: list[Any], *, as_json: bool) -> None:
    if as_json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(alarms), indent=2).decode())
        return
    from rich.console import Console
    from rich.table import Table

    if not alarms:
        print(tell("没有告警", "no alarms"))
        return
    table = Table(*(tell(*head) for head in HEADS), box=None)
    for alarm in alarms:
        table.add_row(
            str(alarm.id), alarm.severity, alarm.rule, alarm.twin, minute(alarm.since), _state(alarm), alarm.assignee
        )
    Console(highlight=False, soft_wrap=True).print(table)


def _show_evidence(evidence: dict[str, Any] | None, zone: tzinfo) -> None:
    """The evidence in a sentence, the parameters, and the samples."""
    from rich.console import Console
    from rich.table import Table

    from twin.flows.evidence_words import evidence_words

    if evidence is None:
        print(tell("没有采样证据", "it rests on no samples"))
        return
    words = evidence_words(evidence, zone)
    print(tell(words["zh"], words["en"]))
    print(tell("参数：", "parameters: ") + ", ".join(f"{name}={value}" for name, value in evidence["params"].items()))
    heads = (("时间", "time"), ("有功 W", "W"), ("非有功 VA", "VA not active"), ("", ""))
    table = Table(*(tell(*head) for head in heads), box=None)
    for part, mark in (("before", tell("之前", "before")), ("after", tell("之后", "after"))):
        for ts, power_w, idle_va in evidence[part]:
            at = datetime.fromtimestamp(ts / 1000, zone).strftime("%H:%M:%S")
            table.add_row(at, str(power_w), "-" if idle_va is None else str(idle_va), mark)
    Console(highlight=False, soft_wrap=True).print(table)


def _state(alarm: Any) -> str:
    words = [tell("持续", "active") if alarm.active else tell("已恢复", "cleared")]
    words.append(tell("已确认", "acknowledged") if alarm.acknowledged else tell("未确认", "unacknowledged"))
    if alarm.shelved_until is not None:
        words.append(tell("搁置至 ", "shelved until ") + minute(alarm.shelved_until))
    return ", ".join(words)
