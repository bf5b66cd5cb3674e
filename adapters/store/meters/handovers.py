"""Hand-over (过户) of meters from one payer to the next, moving out to vacancy (退租) and in from it: one command.

Theory of operation. The command ends the supplies of one side at an instant and begins those of the other there, by the
same path as a site import; so the exported site file tells it, and what an import would refuse is refused here. What
follows is a saga over the twins (`contract_acts`, `handover_posting`), each step of which is one transaction with its
act in the outbox. An instant in the past is rated again by marks; one in the future is carried out by the scheduler.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from adapters.store.journals.account_acts import acted_ts, doer, must_not_be_closed
from adapters.store.journals.journal_book import open_book
from adapters.store.meters.meter_acts import bring, record, stand
from adapters.store.sites.site_import import amend, carry_out
from adapters.store.sites.site_state import SupplyRow, load_state
from twin.ports import MoneyRefusedError, Outcome, PendingAct

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Transaction
    from adapters.store.journals.approvals import Approval
    from adapters.store.journals.journal_book import JournalBook
    from adapters.store.sites.site_state import SiteState

_EDGES = (
    "SELECT DISTINCT i.id FROM site i JOIN supply s ON s.site = i.id WHERE (s.to_ts > i.imported_ts AND s.to_ts <= ?)"
    " OR (s.from_ts > i.imported_ts AND s.from_ts <= ?)"
)
_BEGUN = (
    "SELECT handover, meter FROM handover WHERE site = ? AND ts = ? AND state <> 'done' AND meter = ?"
    " ORDER BY id DESC LIMIT 1"
)


@doer("meter.handover")
async def hand_over(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """Give meters to the next payer from `at` (Unix ms) on: `body` has from_tenant and to_tenant ("" is the landlord),
    at, meters (none: all that the first one has), readings by meter, and a tariff for what comes from vacancy.

    Raises MoneyRefusedError `handover` with everything that does not fit, `unknown_tenant`, `account_closed`,
    `handing_over`, `reading`, `reading_contradicts`.
    """
    giver, taker, at = body["from_tenant"], body["to_tenant"], body["at"]
    if giver == taker:
        raise MoneyRefusedError("handover", "a meter is handed over from one payer to another one")
    for tenant in filter(None, (giver, taker)):
        await must_not_be_closed(tx, site, tenant)
    state = await load_state(tx, site)
    rows = _supplies(state, giver, taker, body)
    acts: list[PendingAct] = []
    for meter in rows:
        standing = await stand(tx, site, meter)
        if meter in body.get("readings", {}):
            wish = {"meter": meter, "reading": body["readings"][meter], "ts": at}
            _, told = await bring(tx, site, wish, standing, by, source="handover", named=(f"handover:{taker}", at))
            acts += told
    _change(state, rows, taker, at, body.get("tariff"))
    difference, told = await amend(tx, book, state, who=by.decided_by, now=acted_ts(by))
    if difference.refused:
        raise MoneyRefusedError("handover", "; ".join(difference.refused))
    answer = {"from_tenant": giver, "to_tenant": taker, "at": at, "meters": sorted(rows), "handovers": {}}
    for meter in sorted(rows):
        begun = await tx.fetch(_BEGUN, site, acted_ts(by), meter)
        if begun:
            answer["handovers"][meter] = begun[0][0]
        event = {"meter": meter, "ts": at, "from_tenant": giver, "to_tenant": taker}
        event["reading"] = body.get("readings", {}).get(meter)
        await record(tx, site, "handover", event, by, [])
    return Outcome(answer, [*acts, *told])


def _supplies(state: SiteState, giver: str, taker: str, body: dict[str, Any]) -> dict[str, SupplyRow | None]:
    """The meters that change hands with the supplies that end; None where the meter is vacant."""
    at = body["at"]
    current = {row.meter: row for row in state.supplies.values() if _holds(row, at)}
    wanted = body.get("meters") or sorted(name for name, row in current.items() if row.tenant == giver and giver)
    if not wanted:
        raise MoneyRefusedError("handover", f"tenant {giver} has no meter at that time" if giver else "name the meters")
    for meter in wanted:
        holder = current[meter].tenant if meter in current else ""
        if meter not in state.devices:
            raise MoneyRefusedError("unknown_meter", f"the site has no meter {meter!r}")
        if holder != giver:
            whose = f"tenant {holder}'s" if holder else "vacant"
            raise MoneyRefusedError("handover", f"meter {meter} is {whose} at that time")
        later = [row for row in state.supplies.values() if row.meter == meter and (row.from_ts or 0) >= at]
        if later:
            raise MoneyRefusedError("handover", f"meter {meter} is promised to tenant {later[0].tenant} after that")
        if not taker and meter not in current:
            raise MoneyRefusedError("handover", f"meter {meter} is vacant already")
    return {meter: current.get(meter) for meter in wanted}


def _holds(row: SupplyRow, at: int) -> bool:
    return (row.from_ts is None or row.from_ts < at) and (row.to_ts is None or row.to_ts > at)


def _change(state: SiteState, rows: dict[str, SupplyRow | None], taker: str, at: int, tariff: str | None) -> None:
    """End what is held and begin what is wanted, in the words of a site file."""
    moment = datetime.fromtimestamp(at / 1000, ZoneInfo(state.settings["timezone"]))
    text = moment.isoformat(timespec="milliseconds" if at % 1000 else "seconds")
    for meter, row in rows.items():
        former = row or _last(state, meter)
        if row is not None:
            state.supplies[row.key] = msgspec.structs.replace(row, to_ts=at, entry={**row.entry, "to": text})
        if not taker:
            continue
        price = tariff or (former.tariff if former else None)
        if price is None or price not in state.tariffs:
            raise MoneyRefusedError("handover", f"meter {meter}: name the tariff of the new supply")
        breaker = former.breaker if former else None
        entry: dict[str, Any] = {"meter": meter, "tariff": price, "from": text}
        if breaker is not None:
            entry["breaker"] = breaker
        new = SupplyRow(taker, meter, breaker, price, at, None, entry)
        state.supplies[new.key] = new


def _last(state: SiteState, meter: str) -> SupplyRow | None:
    past = [row for row in state.supplies.values() if row.meter == meter]
    return max(past, key=lambda row: row.to_ts or 0, default=None)


async def carry_out_due(database: Database, now: int) -> list[PendingAct]:
    """Supplies whose beginning or end has come change hands, on every site; returns the acts for the twins."""
    acts: list[PendingAct] = []
    for row in await database.fetch(_EDGES, now, now):
        async with database.write() as tx:
            book = await open_book(tx, row[0])
            acts += await carry_out(tx, book, who="platform", now=now)
    return acts
