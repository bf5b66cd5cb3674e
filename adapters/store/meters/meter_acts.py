"""What people do to meters: readings they give, decisions on doubtful ones, other registers, other ratios.

Theory of operation. Every act is a kind and a body of plain data with a doer (`account_acts.doer`), so that one person
or two bring about the same thing. A reading is either *current*, newer than what is posted: then the twin is told by an
act and decides on what it has; or it is *late*: then it becomes a sample of the past in SQL, and the meter is marked to
be rated again. Each act leaves a row in `meter_event` for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.journals.account_acts import acted_ts, doer
from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.lock_acts import group_of
from adapters.store.journals.outbox import append_act, next_seq
from adapters.store.sites.contracts import ratio_of
from adapters.store.sites.group_contracts import group_contracts
from adapters.store.sites.late_readings import between, digits_of, keep, place
from adapters.store.sites.owed_registers import owed_epochs
from adapters.store.sites.ratio_changes import next_event
from adapters.store.sites.register_points import Epoch, epoch_at, neighbours, points_around
from adapters.store.sites.rerate_marks import mark_all
from adapters.store.sites.site_import import amend
from adapters.store.sites.site_state import METERS, load_state
from billing.points import Point
from twin.core.effects import LateReading
from twin.core.messages import DoubtSettled, ReadingEntered, RegisterReplaced
from twin.ports import MoneyRefusedError, Outcome, PendingAct

if TYPE_CHECKING:
    from adapters.store.engine.database import Transaction
    from adapters.store.journals.approvals import Approval
    from adapters.store.journals.journal_book import JournalBook

_DEVICE = "SELECT settings FROM device WHERE site = ? AND device = ?"
_UNDER_WAY = "SELECT handover FROM handover WHERE site = ? AND meter = ? AND state <> 'done'"
_EVENT = "INSERT INTO meter_event (site, meter, kind, ts, body, who, why, made_ts) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_SET_DEVICE = "UPDATE device SET settings = ? WHERE site = ? AND device = ?"
_DOUBTFUL = (
    "SELECT q.epoch, q.raw_qty, q.reason, d.decision FROM quarantined_reading q LEFT JOIN reading_decision d"
    " ON d.site = q.site AND d.meter = q.meter AND d.ts = q.ts AND d.sid = q.sid AND d.seq = q.seq"
    " WHERE q.site = ? AND q.meter = ? AND q.ts = ? AND q.sid = ? AND q.seq = ?"
)
_LEFT = (
    "SELECT count(*) FROM quarantined_reading q WHERE q.site = ? AND q.meter = ? AND q.reason = ? AND NOT EXISTS"
    " (SELECT 1 FROM reading_decision d WHERE d.site = q.site AND d.meter = q.meter AND d.ts = q.ts AND d.sid = q.sid"
    " AND d.seq = q.seq)"
)
_DECISION = (
    "INSERT INTO reading_decision (site, meter, ts, sid, seq, decision, raw_qty, overtaken, who, why, decided_ts)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Standing(msgspec.Struct, frozen=True):
    """What SQL knows of a meter when somebody acts on it."""

    device: dict[str, Any]
    epochs: list[Epoch]

    @property
    def ratio(self) -> int:
        """Primary quantity of one shown unit, as it is now."""
        return ratio_of(self.device)

    @property
    def digits(self) -> int:
        """The display wraps to zero here."""
        return digits_of(self.device)


@doer("meter.reading")
async def enter_reading(tx: Transaction, _book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """A reading that a person took: `body` has meter, reading (as shown), ts, rolled, photo, photo_sha256.

    Raises MoneyRefusedError `unknown_meter`, `reading` or `reading_contradicts`.
    """
    standing = await stand(tx, site, body["meter"])
    named = ("manual", await next_event(tx, site))
    effect, acts = await bring(tx, site, body, standing, by, source="manual", named=named)
    return await record(tx, site, "reading", {**body, "effect": effect}, by, acts)


@doer("meter.rollover")
async def declare_rollover(
    tx: Transaction, _book: JournalBook, site: str, body: dict[str, Any], by: Approval
) -> Outcome:
    """The register went through zero and shows `reading`: all up to there was used. Raises as a reading does."""
    standing = await stand(tx, site, body["meter"])
    named = ("manual", await next_event(tx, site))
    effect, acts = await bring(tx, site, {**body, "rolled": True}, standing, by, source="manual", named=named)
    return await record(tx, site, "rollover", {**body, "effect": effect}, by, acts)


@doer("meter.replace")
async def replace_register(
    tx: Transaction, book: JournalBook, _site: str, body: dict[str, Any], by: Approval
) -> Outcome:
    """Another register at the same metering point: `body` has meter, ts, final (None: unknown), opening, and the new
    ratio and digits where they differ. Tiers go on counting; what nobody read between the two is charged to nobody.

    Raises MoneyRefusedError `unknown_meter`, `reading`, `reading_contradicts`, `replacement`.
    """
    return await _other_register(tx, book, body, by, "replacement")


@doer("meter.reset")
async def declare_reset(tx: Transaction, book: JournalBook, _site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """The register was set to `opening`, having shown `final` before. Raises as a replacement does."""
    return await _other_register(tx, book, body, by, "reset")


@doer("meter.ratio")
async def change_ratio(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """Other transformers: `body` has meter, ratio, ts, and the reading at that instant where somebody took it.

    Raises MoneyRefusedError `unknown_meter`, `reading`, `ratio`.
    """
    standing = await stand(tx, site, body["meter"])
    if body["ratio"] == standing.ratio:
        raise MoneyRefusedError("ratio", f"meter {body['meter']} has the ratio {standing.ratio} already")
    acts: list[PendingAct] = []
    event = await next_event(tx, site)
    if body.get("reading") is not None:
        named = ("ratio", event)
        _, acts = await bring(tx, site, body, standing, by, source="manual", named=named)
    state = await load_state(tx, site)
    state.devices[body["meter"]] = {**state.devices[body["meter"]], "ratio": body["ratio"]}
    numbers = {body["meter"]: event}
    _, told = await amend(tx, book, state, who=by.decided_by, now=acted_ts(by), ratio_events=numbers)
    return await record(tx, site, "ratio", {**body, "before": standing.ratio, "event": event}, by, [*acts, *told])


@doer("reading.decide")
async def decide_reading(tx: Transaction, _book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """A person's word on a quarantined reading: `body` has meter, ts, sid, seq, decision (accept, reject, estimate)
    and for an estimate the reading. `overtaken` of the answer says that newer readings are charged already.

    Raises MoneyRefusedError `unknown_reading`, `reading_decided`, `reading`, `reading_contradicts`.
    """
    key = (site, body["meter"], body["ts"], body["sid"], body["seq"])
    rows = await tx.fetch(_DOUBTFUL, *key)
    if not rows:
        raise MoneyRefusedError("unknown_reading", f"no reading of {body['meter']} at {body['ts']} waits for review")
    _, shown, reason, earlier = rows[0]
    if earlier is not None:
        raise MoneyRefusedError("reading_decided", f"this reading was decided before: {earlier}")
    standing = await stand(tx, site, body["meter"])
    decision = body["decision"]
    value = {"accept": shown, "estimate": body.get("reading"), "reject": None}[decision]
    newest = standing.epochs[-1] if standing.epochs else None
    overtaken = newest is not None and newest.head_ts is not None and newest.head_ts >= body["ts"]
    effect = "none"
    acts: list[PendingAct] = []
    if decision != "reject":
        wish = {**body, "reading": value}
        source = "accepted" if decision == "accept" else "estimated"
        effect, acts = await bring(tx, site, wish, standing, by, source=source, named=(body["sid"], body["seq"]))
    said = (decision, value, overtaken, by.decided_by, by.why, acted_ts(by))
    await tx.execute(_DECISION, *key, *said)
    if (await tx.fetch(_LEFT, site, body["meter"], reason))[0][0] == 0:
        group = await group_of(tx, site, body["meter"])
        settled = DoubtSettled(await next_seq(tx, site, group), body["meter"], reason, acted_ts(by))
        acts = [*acts, await append_act(tx, site, group, settled)]
    answer = {**body, "reading": value, "overtaken": overtaken, "effect": effect}
    await record_audit(
        tx, site, [AuditEntry(acted_ts(by), by.decided_by, "reading.decide", f"meter {body['meter']}", None, answer)]
    )
    return Outcome(answer, acts)


async def stand(tx: Transaction, site: str, meter: str) -> Standing:
    """What a person acts on. Raises MoneyRefusedError `unknown_meter`, or `handing_over` while the meter is on its way
    between two tenants."""
    rows = await tx.fetch(_DEVICE, site, meter)
    device = msgspec.json.decode(rows[0][0]) if rows else {}
    if device.get("kind") not in METERS:
        raise MoneyRefusedError("unknown_meter", f"site {site} has no meter {meter!r}")
    under_way = await tx.fetch(_UNDER_WAY, site, meter)
    if under_way:
        detail = f"meter {meter} is being handed over ({under_way[0][0]}); try again in a moment"
        raise MoneyRefusedError("handing_over", detail)
    return Standing(device, await owed_epochs(tx, site, meter, ratio_of(device), digits_of(device)))


async def bring(
    tx: Transaction,
    site: str,
    body: dict[str, Any],
    standing: Standing,
    by: Approval,
    *,
    source: str,
    named: tuple[str, int],
) -> tuple[str, list[PendingAct]]:
    """Bring a reading (`meter`, `reading` as shown, `ts`) to where it belongs: ("late", no acts) or ("current", acts).

    Raises MoneyRefusedError `reading` for one that is impossible, `reading_contradicts` for one that newer or older
    readings exclude.
    """
    meter, shown, ts = body["meter"], body["reading"], body["ts"]
    if type(shown) is not int or not 0 <= shown < standing.digits:
        raise MoneyRefusedError("reading", f"{shown!r} is not what a register of {standing.digits} units can show")
    if ts > acted_ts(by):
        raise MoneyRefusedError("reading", "a reading cannot be of the future")
    epoch = epoch_at(standing.epochs, ts)
    if standing.epochs and epoch is None:
        raise MoneyRefusedError("reading", f"meter {meter} counts only since {standing.epochs[0].opened_ts} (Unix ms)")
    newest = standing.epochs[-1] if standing.epochs else None
    if epoch is not None and (epoch is not newest or (epoch.head_ts is not None and ts <= epoch.head_ts)):
        await _must_fit(tx, site, meter, epoch, standing.digits, shown, ts)
        late = LateReading(meter, epoch.epoch, shown, ts, *named, source=source)
        await mark_all(tx, site, await place(tx, site, meter, [late]), f"a reading was {source}", acted_ts(by))
        return "late", []
    if newest is not None and not body.get("rolled") and not _reachable(newest, shown, standing):
        detail = f"the register stood at {newest.head_qty // newest.ratio} before; say so if it went through zero"
        raise MoneyRefusedError("reading_contradicts", detail)
    group = await group_of(tx, site, meter)
    seq = await next_seq(tx, site, group)
    act = ReadingEntered(seq, meter, shown, ts, source, *named, rolled=bool(body.get("rolled")))
    if newest is not None:
        await keep(tx, site, act, newest, _unwrapped(newest, shown, standing, rolled=act.rolled))
    return "current", [await append_act(tx, site, group, act)]


def _reachable(newest: Epoch, shown: int, standing: Standing) -> bool:
    modulus = standing.digits * newest.ratio
    return shown * newest.ratio >= newest.head_qty % modulus


def _unwrapped(newest: Epoch, shown: int, standing: Standing, *, rolled: bool) -> int:
    """What the register has counted when it shows so much, going on from the end of its chain."""
    modulus = standing.digits * newest.ratio
    turns = newest.head_qty // modulus + (1 if rolled else 0)
    return turns * modulus + shown * newest.ratio


async def _must_fit(tx: Transaction, site: str, meter: str, epoch: Epoch, digits: int, shown: int, ts: int) -> None:
    points = await points_around(tx, site, meter, epoch.epoch, ts, ts)
    before, after = neighbours(points, ts)
    if after is None and epoch.final_qty is not None and epoch.ends_ts is not None:
        after = Point(epoch.ends_ts, epoch.final_qty)
    if between(shown * epoch.ratio, digits * epoch.ratio, epoch.opening, before, after) is None:
        low = before.qty // epoch.ratio if before else epoch.opening // epoch.ratio
        high = after.qty // epoch.ratio if after else None
        detail = f"readings before and after it have overtaken it: at that time the register stood between {low} and"
        raise MoneyRefusedError("reading_contradicts", f"{detail} {high if high is not None else 'the next reading'}")


async def _other_register(
    tx: Transaction, book: JournalBook, body: dict[str, Any], by: Approval, reason: str
) -> Outcome:
    site = book.site
    meter, ts = body["meter"], body["ts"]
    standing = await stand(tx, site, meter)
    newest = standing.epochs[-1] if standing.epochs else None
    if newest is None:
        raise MoneyRefusedError("replacement", f"meter {meter} was never read: there is no register to leave")
    known = newest.head_ts if newest.head_ts is not None else newest.opened_ts
    if known is not None and ts < known:
        detail = f"the register is known up to {known} (Unix ms); it must have been then or later"
        raise MoneyRefusedError("replacement", detail)
    if ts > acted_ts(by):
        raise MoneyRefusedError("replacement", "it cannot have been in the future")
    final = body.get("final")
    if final is not None and not body.get("rolled") and not _reachable(newest, final, standing):
        shown = newest.head_qty % (standing.digits * newest.ratio) // newest.ratio
        raise MoneyRefusedError("reading_contradicts", f"the old register showed {shown} before, more than {final}")
    device = _changed_device(standing.device, body)
    if not 0 <= body["opening"] < digits_of(device):
        raise MoneyRefusedError("reading", f"the new register cannot show {body['opening']}")
    acts = await _speak_for(tx, book, meter, body.get("device"), by)
    await tx.execute(_SET_DEVICE, msgspec.json.encode(device).decode(), site, meter)
    group = await group_of(tx, site, meter)
    contracts = await group_contracts(tx, site, group)
    contract = next(one for one in contracts.meters if one.id == meter)
    seq = await next_seq(tx, site, group)
    event = await next_event(tx, site)
    act = RegisterReplaced(seq, meter, ts, body["opening"], reason, contract, final, event)
    pending = await append_act(tx, site, group, act)
    told = {**body, "event": event, **_left_behind(standing, device)}
    return await record(tx, site, reason, told, by, [*acts, pending])


async def _speak_for(
    tx: Transaction, book: JournalBook, meter: str, device: str | None, by: Approval
) -> list[PendingAct]:
    """Let a device of another id speak for the metering point: the point keeps its id, its chain and its counters."""
    if device is None or device == meter:
        return []
    state = await load_state(tx, book.site)
    aliases = dict(state.settings.get("aliases", {}))
    if device in state.devices:
        raise MoneyRefusedError("replacement", f"{device} is a device of the site; it is a metering point of its own")
    if aliases.get(device, meter) != meter:
        raise MoneyRefusedError("replacement", f"{device} speaks for {aliases[device]} already")
    aliases.pop(device, None)
    state.settings = {**state.settings, "aliases": {**aliases, device: meter}}
    _, acts = await amend(tx, book, state, who=by.decided_by, now=acted_ts(by))
    return acts


def _changed_device(device: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The device's entry with what is different about the new register."""
    digits = "register_digits_wh" if device["kind"] == "electricity_meter" else "register_digits_l"
    new = {"ratio": body.get("ratio"), digits: body.get("digits"), "imax_a": body.get("imax_a")}
    return {**device, **{key: value for key, value in new.items() if value is not None}}


def _left_behind(standing: Standing, device: dict[str, Any]) -> dict[str, int]:
    """What was different about the old register: who makes the twin from SQL has to know it (`owed_registers`)."""
    before = {"ratio_before": (standing.ratio, ratio_of(device)), "digits_before": (standing.digits, digits_of(device))}
    return {name: old for name, (old, new) in before.items() if old != new}


async def record(
    tx: Transaction, site: str, kind: str, body: dict[str, Any], by: Approval, acts: list[PendingAct]
) -> Outcome:
    """Keep the act for good, audited with both names where two people were needed."""
    people = {"asked_by": by.asked_by, "approval": by.id} if by.id else {}
    told = {key: value for key, value in {**body, **people}.items() if value is not None}
    text = msgspec.json.encode(told).decode()
    meter, now = body["meter"], acted_ts(by)
    await tx.execute(_EVENT, site, meter, kind, body["ts"], text, by.decided_by, by.why, now)
    await record_audit(tx, site, [AuditEntry(now, by.decided_by, f"meter.{kind}", f"meter {meter}", None, told)])
    return Outcome({"meter": meter, "kind": kind, **told}, acts)
