"""What the ledger knows of one meter from an instant on: samples, payers, prices, and what was charged.

Theory of operation. Only what can change is read. A change at some instant moves the split of the pair of samples
around it, and the counters of use from there to the end of the month, or of the year where tiers count by the year. So
reading begins at the last sample before the start of that month or year, and what is rated before the start is thrown
away: at the start every counter is zero, whatever was before.

Samples are those kept beside the posted rows, and the late ones that agree with them. Rows from before samples were
kept have none; then their own ends stand in for samples, which rates them as they were posted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from adapters.store.journals.accounts import VACANCY, wallet
from adapters.store.sites.site_state import load_tariffs
from billing.history import Charge, Epoch, Occupancy, Payer, Tenancy, rate_history
from billing.late_points import place_late
from billing.local_time import month_index_at, month_number, month_start
from billing.points import Point, in_order, unpack
from billing.rerating import Assignment, Facts, overlay
from billing.tariff import Tariff, compile_tariff

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapters.store.engine.database import Row, Transaction

_EPOCHS = (
    "SELECT epoch, opening, opened_ts, head_qty, head_ts, month, month_use, year_use, carried_month, carried_use,"
    " carried_year_use FROM register_epoch WHERE site = ? AND meter = ? ORDER BY epoch"
)
_BEFORE = (
    "SELECT from_qty, to_qty, from_ts, to_ts, points FROM energy WHERE site = ? AND meter = ? AND epoch = ?"
    " AND from_qty IS NOT NULL AND from_qty < ? AND (points IS NULL OR length(points) > 0) AND from_ts <= ?"
    " ORDER BY from_qty DESC LIMIT 8"
)
_ROWS = (
    "SELECT e.epoch, e.from_qty, e.to_qty, e.from_ts, e.to_ts, e.tenant, e.estimated, e.points, r.account, r.utility,"
    " r.tariff, r.version, r.month, r.period, r.tier, r.price_micro FROM energy e JOIN rating r ON r.site = e.site"
    " AND r.meter = e.meter AND r.epoch = e.epoch AND r.from_qty = e.from_qty AND r.revision = 1"
    " WHERE e.site = ? AND e.meter = ? AND e.epoch = ? AND e.to_qty > ? ORDER BY e.from_qty"
)
_OPENING = "SELECT points FROM energy WHERE site = ? AND meter = ? AND epoch = ? AND from_qty IS NULL"
_ADJUSTMENTS = (
    "SELECT number, epoch, from_qty, to_qty, from_ts, to_ts, original_from, tenant, account, tariff, version, month,"
    " period, tier, price_micro, estimated FROM adjustment WHERE site = ? AND meter = ? AND epoch = ? AND to_qty > ?"
    " ORDER BY number"
)
_LATE = (
    "SELECT raw_qty, qty, ts, sid, seq, rates FROM late_reading WHERE site = ? AND meter = ? AND epoch = ? AND ts >= ?"
    " ORDER BY ts, qty, id"
)
_SUPPLIES = "SELECT tenant, tariff, from_ts, to_ts FROM supply WHERE site = ? AND meter = ? ORDER BY id"
_TARIFFS_OF = "SELECT tenant, supply_from, from_ts, tariff FROM supply_tariff WHERE site = ? AND meter = ? ORDER BY id"
_NEWEST = "SELECT COALESCE(max(number), 0) FROM adjustment WHERE site = ? AND meter = ?"
_LONG_AGO = -(2**62)


class SitePrices(msgspec.Struct, frozen=True):
    """Settings and compiled tariffs of a site: what all its meters share."""

    site: str
    settings: dict[str, Any]
    tariffs: Mapping[str, Tariff]

    @property
    def timezone(self) -> str:
        """The site's zone."""
        return str(self.settings["timezone"])


class EpochHead(msgspec.Struct, frozen=True):
    """Where the posted chain of one epoch began and ends, and the counters of use that the live twin has there."""

    epoch: int
    opening: int
    opened_ts: int | None
    head_qty: int
    head_ts: int | None
    month: int
    month_use: int
    year_use: int
    carried_month: int
    carried_use: int
    carried_year_use: int


class Stray(msgspec.Struct, frozen=True):
    """A late reading that contradicts the samples around it."""

    epoch: int
    raw_qty: int
    ts: int
    sid: str
    seq: int


class MeterHistory(msgspec.Struct, frozen=True):
    """One meter from `start_ts` on: what holds (`effective`), what ought to hold (`canonical`), both in register order.

    `newest` is the number of its last adjustment; `counted` says whether a tariff counts use. `epochs` and `occupancy`
    are what `canonical` was rated from.
    """

    site: str
    meter: str
    utility: str
    start_ts: int
    start_month: int
    heads: Sequence[EpochHead]
    effective: list[Assignment]
    canonical: list[Charge]
    strays: list[Stray]
    newest: int
    counted: bool
    epochs: list[Epoch]
    occupancy: Occupancy


class _Samples(msgspec.Struct):
    """Points of one epoch as they are gathered."""

    head: EpochHead
    trusted: list[Point]
    base_qty: int
    rows: list[Row]


async def load_prices(tx: Transaction, site: str) -> SitePrices:
    """Raises LookupError for a site that was never imported, TariffError for a document that does not compile."""
    rows = await tx.fetch("SELECT settings FROM site WHERE id = ?", site)
    if not rows:
        raise LookupError(f"site {site!r} is not in the database; import its site file first")
    settings = msgspec.json.decode(rows[0][0])
    documents = await load_tariffs(tx, site)
    zone = settings["timezone"]
    return SitePrices(site, settings, {name: compile_tariff(document, zone) for name, document in documents.items()})


async def load_history(tx: Transaction, prices: SitePrices, meter: str, from_ts: int) -> MeterHistory | None:
    """The meter as it is charged and as it ought to be, for use since `from_ts` (Unix ms) and everything that depends
    on it; None where nothing was ever posted.

    Raises HistoryError, TariffError or MoneyError where the past cannot be rated: a payer without tariff, a price that
    does not reach back far enough.
    """
    site = prices.site
    heads = [EpochHead(*row) for row in await tx.fetch(_EPOCHS, site, meter)]
    if not heads:
        return None
    payers = await _tenancies(tx, prices, meter)
    tariffs = [prices.tariffs[name] for name in {one.payer.tariff for one in payers} if name in prices.tariffs]
    touched = await _sample_before(tx, site, meter, heads, from_ts)
    start_ts = _start(prices, tariffs, max(touched, 0))
    gathered = await _gather(tx, site, meter, heads, start_ts)
    utility = next((row["utility"] for one in gathered for row in one.rows), None)
    if utility is None:
        utility = await _utility(tx, site, meter)
    who = Occupancy(payers, prices.tariffs, _landlord(prices, utility), prices.timezone)
    epochs: list[Epoch] = []
    strays: list[Stray] = []
    for one in gathered:
        points, wrong = await _with_late(tx, site, meter, one)
        strays += wrong
        carried = (one.head.carried_month, one.head.carried_use, one.head.carried_year_use)
        epochs.append(Epoch(one.head.epoch, points, carried if one.head.carried_month else None))
    start_month = month_number(month_index_at(ZoneInfo(prices.timezone), start_ts))
    owed = rate_history(epochs, who).charges
    return MeterHistory(
        site=site,
        meter=meter,
        utility=utility,
        start_ts=start_ts,
        start_month=start_month,
        heads=heads,
        effective=await _effective(tx, site, meter, gathered),
        canonical=[charge for charge in owed if charge.priced.month >= start_month],
        strays=strays,
        newest=int((await tx.fetch(_NEWEST, site, meter))[0][0]),
        counted=any(_counts(prices.tariffs[name]) for name in {one.payer.tariff for one in payers} & {*prices.tariffs}),
        epochs=epochs,
        occupancy=who,
    )


def _counts(tariff: Tariff) -> bool:
    return any(version.tiers or version.free_upto for version in tariff.versions)


def _start(prices: SitePrices, tariffs: Sequence[Tariff], ts: int) -> int:
    """The start of the month, or where a tariff counts by the year of the year, that an instant lies in."""
    zone = ZoneInfo(prices.timezone)
    index = month_index_at(zone, ts)
    yearly = any(version.tiers and version.tier_period == "year" for one in tariffs for version in one.versions)
    return month_start(zone, index // 12 * 12 if yearly else index)


async def _sample_before(tx: Transaction, site: str, meter: str, heads: Sequence[EpochHead], ts: int) -> int:
    """The instant of the last posted sample before `ts`, from which a change at `ts` moves what is charged."""
    points, _ = await _points_before(tx, site, meter, _epoch_at(heads, ts - 1), ts - 1)
    return max((point.ts for point in points if point.ts < ts), default=ts)


async def _points_before(
    tx: Transaction, site: str, meter: str, head: EpochHead, ts: int
) -> tuple[list[Point], int | None]:
    """Points of the rows around the last sample at or before `ts`, and the register there (None: there is none)."""
    found: list[Point] = []
    below = 2**62
    while rows := await tx.fetch(_BEFORE, site, meter, head.epoch, below, ts):
        for row in rows:
            found += _points_of(row)
            earlier = [point for point in found if point.ts <= ts]
            if earlier:
                return found, max(earlier, key=lambda point: (point.ts, point.qty)).qty
        below = rows[-1]["from_qty"]
    if head.opened_ts is not None and head.opened_ts <= ts:
        return [*found, *await _opening(tx, site, meter, head)], head.opening
    return found, None


def _epoch_at(heads: Sequence[EpochHead], ts: int) -> EpochHead:
    opened = [head for head in heads if (_LONG_AGO if head.opened_ts is None else head.opened_ts) <= ts]
    return opened[-1] if opened else heads[0]


async def _gather(tx: Transaction, site: str, meter: str, heads: Sequence[EpochHead], start_ts: int) -> list[_Samples]:
    """Samples and posted rows of every epoch from the last sample at or before `start_ts` on."""
    first = _epoch_at(heads, start_ts)
    gathered: list[_Samples] = []
    for head in heads:
        if head.epoch < first.epoch:
            continue
        trusted: list[Point] = []
        base_qty: int | None = None
        if head.epoch == first.epoch:
            trusted, base_qty = await _points_before(tx, site, meter, head, start_ts)
        if base_qty is None:
            base_qty = head.opening
            trusted += await _opening(tx, site, meter, head)
        rows = list(await tx.fetch(_ROWS, site, meter, head.epoch, base_qty))
        for row in rows:
            trusted += _points_of(row)
        gathered.append(_Samples(head, [point for point in in_order(trusted) if point.qty >= base_qty], base_qty, rows))
    return gathered


async def _opening(tx: Transaction, site: str, meter: str, head: EpochHead) -> list[Point]:
    """The opening as a sample, with the sub-registers it told; none where nobody knows when it held."""
    if head.opened_ts is None:
        return []
    rows = await tx.fetch(_OPENING, site, meter, head.epoch)
    told = [point for row in rows if row[0] for point in unpack(bytes(row[0])) if point.qty == head.opening]
    return [*told, Point(head.opened_ts, head.opening)]


def _points_of(row: Row) -> list[Point]:
    packed = row["points"]
    if packed is not None:
        return unpack(bytes(packed))
    from_ts = row["to_ts"] if row["from_ts"] is None else row["from_ts"]
    return [Point(from_ts, row["from_qty"]), Point(row["to_ts"], row["to_qty"])]


async def _with_late(tx: Transaction, site: str, meter: str, one: _Samples) -> tuple[list[Point], list[Stray]]:
    points = one.trusted
    begins = one.base_qty == one.head.opening
    if begins and one.head.opened_ts is None and points and points[0].qty > one.head.opening:
        # Nobody knows when the opening held: what was used since then is charged at the first sample.
        points = [Point(points[0].ts, one.head.opening), *points]
    since = points[0].ts if points else (one.head.opened_ts or 0)
    rows = await tx.fetch(_LATE, site, meter, one.head.epoch, since)
    if not rows:
        return points, []
    late = [Point(row["ts"], row["qty"], _rates(row["rates"])) for row in rows]
    points, wrong = place_late(points, late)
    contradicting = {(point.ts, point.qty) for point in wrong}
    strays = [
        Stray(one.head.epoch, row["raw_qty"], row["ts"], row["sid"], row["seq"])
        for row in rows
        if (row["ts"], row["qty"]) in contradicting
    ]
    return points, strays


def _rates(text: str | None) -> tuple[int | None, ...] | None:
    return None if text is None else tuple(msgspec.json.decode(text))


async def _tenancies(tx: Transaction, prices: SitePrices, meter: str) -> list[Tenancy]:
    """Who paid for the meter and by which tariff, from the supplies and the tariffs they had."""
    changes = await tx.fetch(_TARIFFS_OF, prices.site, meter)
    found: list[Tenancy] = []
    for tenant, tariff, from_ts, to_ts in await tx.fetch(_SUPPLIES, prices.site, meter):
        own = [
            (row["from_ts"], row["tariff"])
            for row in changes
            if (row["tenant"], row["supply_from"]) == (tenant, from_ts)
        ]
        for start, end, name in tariff_spans(tariff, own):
            low = from_ts if start is None else max(start, from_ts if from_ts is not None else start)
            high = to_ts if end is None else min(end, to_ts if to_ts is not None else end)
            if low is None or high is None or low < high:
                found.append(Tenancy(Payer(tenant, wallet(tenant), name), low, high))
    return found


def tariff_spans(present: str, changes: Sequence[tuple[int | None, str]]) -> list[tuple[int | None, int | None, str]]:
    """(from, to, tariff) over all time, of changes (from when on, tariff) in the order in which they were made.

    A later change overrules what earlier ones said of any later instant; without changes `present` holds always.
    """
    spans: list[tuple[int | None, int | None, str]] = [(None, None, changes[0][1] if changes else present)]
    for from_ts, tariff in changes:
        kept = [span for span in spans if from_ts is not None and (span[0] is None or span[0] < from_ts)]
        if kept:
            kept[-1] = (kept[-1][0], from_ts, kept[-1][2])
        spans = [*kept, (from_ts, None, tariff)]
    return spans


def _landlord(prices: SitePrices, utility: str) -> Payer:
    return Payer("", VACANCY, prices.settings.get("vacancy", {}).get(utility, ""))


async def _utility(tx: Transaction, site: str, meter: str) -> str:
    rows = await tx.fetch("SELECT kind FROM device WHERE site = ? AND device = ?", site, meter)
    return "water" if rows and rows[0][0] == "water_meter" else "electricity"


async def _effective(tx: Transaction, site: str, meter: str, gathered: Sequence[_Samples]) -> list[Assignment]:
    posted: list[Assignment] = []
    layers: list[Assignment] = []
    for one in gathered:
        own = [_posted(row) for row in one.rows]
        posted += own
        starts = {row.from_qty for row in own}
        rows = await tx.fetch(_ADJUSTMENTS, site, meter, one.head.epoch, one.base_qty)
        # One on the row before the first that is looked at belongs to a time that cannot change.
        layers += [_layer(row) for row in rows if row["original_from"] in starts]
    return overlay(posted, layers)


def _posted(row: Row) -> Assignment:
    from_ts = row["to_ts"] if row["from_ts"] is None else row["from_ts"]
    place = (row["epoch"], row["from_qty"], row["to_qty"], from_ts, row["to_ts"])
    return Assignment(*place, _facts(row), bool(row["estimated"]), row["from_qty"])


def _layer(row: Row) -> Assignment:
    place = (row["epoch"], row["from_qty"], row["to_qty"], row["from_ts"], row["to_ts"])
    return Assignment(*place, _facts(row), bool(row["estimated"]), row["original_from"], row["number"])


def _facts(row: Row) -> Facts:
    who = (row["tenant"], row["account"], row["tariff"], row["version"], row["month"])
    return Facts(*who, row["period"], row["tier"], row["price_micro"])
