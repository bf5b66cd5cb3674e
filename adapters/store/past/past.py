"""The site as it was at an instant, as far as SQL knows: where replays and explanations of the past begin.

Every fact is the newest that was recorded at or before the instant: contracts and credits from the acts, charges from
the journal, register heads from the energy chain, locks, relays, connections and disconnect states from their
histories, and what each rule remembered from its changes. Not in SQL, and therefore not known until the first message:
live values, sequence numbers, and what was charged since the last posting. Site settings and parameters that rules
set are those of today.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.journals.accounts import wallet
from adapters.store.journals.outbox import decode_act
from adapters.store.sites.rebuild import in_list
from rules.state import RuleState
from twin.core.messages import ContractsChanged, CreditsPosted
from twin.core.model import BreakerTwin, Connection, GatewayTwin, Group, Lock, MeterTwin, Register, TenantTwin
from twin.ports import PendingAct, SiteDocument

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from adapters.store.engine.database import Database, Transaction

MONTHS_APART = 100
"""Months are numbers such as 202601."""
YEAR_MS = 367 * 24 * 3_600_000
"""Longer than any year: use of the month and of the year is never older."""

_LAST_ACTS = (
    "SELECT a.group_id, a.body FROM act a JOIN (SELECT group_id, max(seq) AS seq FROM act WHERE site = ? AND ts <= ?"
    " AND body LIKE ?{groups} GROUP BY group_id) newest ON newest.group_id = a.group_id AND newest.seq = a.seq"
    " WHERE a.site = ?"
)
_ACT_HEADS = "SELECT group_id, max(seq) FROM act WHERE site = ? AND ts <= ?{groups} GROUP BY group_id"
_ACTS = "SELECT group_id, body FROM act WHERE site = ? AND ts > ? AND ts <= ?{groups} ORDER BY ts, group_id, seq"
_BALANCES = (
    "SELECT l.account, sum(l.amount_nano) FROM leg l JOIN journal j ON j.site = l.site AND j.seq = l.seq"
    " WHERE l.site = ? AND j.ts <= ? AND l.account {names} GROUP BY l.account"
)
_HEADS = (
    "SELECT e.meter, e.epoch, max(e.to_qty) AS head_qty, max(e.to_ts) AS head_ts, o.opening, o.opened_ts FROM energy e"
    " JOIN register_epoch o ON o.site = e.site AND o.meter = e.meter AND o.epoch = e.epoch"
    " LEFT JOIN rating r ON r.site = e.site AND r.meter = e.meter AND r.epoch = e.epoch AND r.from_qty = e.from_qty"
    " AND r.revision = 1 LEFT JOIN journal j ON j.site = r.site AND j.seq = r.journal_seq"
    " WHERE e.site = ? AND e.meter {names} AND COALESCE(j.ts, e.to_ts, 0) <= ?"
    " GROUP BY e.meter, e.epoch, o.opening, o.opened_ts ORDER BY e.meter, e.epoch"
)
"""A gap is posted in rows that end long before the reading that closed it: what counts is when they were posted."""
_MONTHS = (
    "SELECT r.meter, r.month, sum(r.to_qty - r.from_qty) FROM energy e JOIN rating r ON r.site = e.site"
    " AND r.meter = e.meter AND r.epoch = e.epoch AND r.from_qty = e.from_qty AND r.active LEFT JOIN journal j"
    " ON j.site = r.site AND j.seq = r.journal_seq WHERE e.site = ? AND e.meter {names}"
    " AND COALESCE(j.ts, e.to_ts, 0) <= ? AND e.to_ts > ? GROUP BY r.meter, r.month ORDER BY r.meter, r.month"
)
_LOCKS = (
    "SELECT breaker, lock, active, who, why, ts, until, rule, rule_version FROM lock_change WHERE id IN"
    " (SELECT max(id) FROM lock_change WHERE site = ? AND ts <= ? AND breaker {names} GROUP BY breaker, lock)"
    " ORDER BY breaker, lock"
)
_RULES = (
    "SELECT rule, twin, record FROM rule_change WHERE id IN (SELECT max(id) FROM rule_change WHERE site = ?"
    " AND ts <= ? AND twin {names} GROUP BY rule, twin)"
)
_SUPPLY = (
    "SELECT tenant, state_after, ts FROM supply_change WHERE id IN (SELECT max(id) FROM supply_change WHERE site = ?"
    " AND ts <= ? AND tenant {names} GROUP BY tenant)"
)
_RELAYS = (
    "SELECT breaker, relay, ts FROM relay_report WHERE id IN (SELECT max(id) FROM relay_report WHERE site = ?"
    " AND ts <= ? AND breaker {names} GROUP BY breaker)"
)
_CONNECTIONS = (
    "SELECT device, state, sid, ts FROM connection_change WHERE id IN (SELECT max(id) FROM connection_change"
    " WHERE site = ? AND ts <= ? AND device {names} GROUP BY device)"
)
_ACTIVATIONS = (
    "SELECT a.ruleset, a.version, a.ts, v.document FROM ruleset_activation a LEFT JOIN ruleset_version v"
    " ON v.site = a.site AND v.ruleset = a.ruleset AND v.version = a.version WHERE a.site = ?"
    " AND a.ts < ? ORDER BY a.id"
)
_TARIFFS = (
    "SELECT t.tariff, v.ts, v.document FROM tariff t JOIN tariff_version v ON v.site = t.site AND v.tariff = t.tariff"
    " WHERE t.site = ? AND v.ts < ? ORDER BY t.id, v.version"
)


class SqlPast:
    """The `Past` port over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def groups_at(self, site: str, at: int, groups: Collection[str] | None = None) -> list[Group]:
        """Groups as of an instant (Unix ms), for those whose contracts were known then."""
        async with self._database.snapshot() as tx:
            condition, values = _of_groups(tx, groups)
            sql = _LAST_ACTS.format(groups=condition)
            rows = await tx.fetch(sql, site, at, '{"t":"contracts"%', *values, site)
            contracts = {row[0]: decode_act(row[1]) for row in rows}
            rows = await tx.fetch(sql, site, at, '{"t":"credits"%', *values, site)
            credited = {row[0]: decode_act(row[1]) for row in rows}
            heads = await tx.fetch(_ACT_HEADS.format(groups=condition), site, at, *values)
            facts = _Facts(site, at, dict(map(tuple, heads)))
            await facts.load(tx, [act for act in contracts.values() if isinstance(act, ContractsChanged)], contracts)
        return [
            facts.group(name, act, credited.get(name))
            for name, act in contracts.items()
            if isinstance(act, ContractsChanged)
        ]

    async def acts_between(
        self, site: str, from_ts: int, to_ts: int, groups: Collection[str] | None = None
    ) -> list[PendingAct]:
        """Acts later than `from_ts` until `to_ts`, by instant, each group's in the order of its numbers."""
        async with self._database.snapshot() as tx:
            condition, values = _of_groups(tx, groups)
            rows = await tx.fetch(_ACTS.format(groups=condition), site, from_ts, to_ts, *values)
        return [PendingAct(site, row[0], decode_act(row[1])) for row in rows]

    async def firing(self, site: str, rule: str, twins: Collection[str], at: int) -> dict[str, Any] | None:
        """The record of the last firing of a rule for one of some twins, at or before an instant; None without one."""
        async with self._database.snapshot() as tx:
            listed, value = in_list(tx, twins)
            sql = (
                "SELECT record FROM rule_change WHERE site = ? AND rule = ? AND ts <= ? AND transition = 'fired'"  # noqa: S608
                f" AND twin {listed} ORDER BY id DESC LIMIT 1"
            )
            rows = await tx.fetch(sql, site, rule, at, value)
        return msgspec.json.decode(rows[0][0]) if rows else None

    async def sources_between(self, site: str, from_ts: int, to_ts: int) -> list[tuple[int, SiteDocument]]:
        """Policy sources in force at `from_ts`, and each change until `to_ts` with its instant. Raises LookupError."""
        async with self._database.snapshot() as tx:
            rows = await tx.fetch("SELECT settings FROM site WHERE id = ?", site)
            if not rows:
                raise LookupError(f"site {site!r} is not in the database; import its site file first")
            settings = msgspec.json.decode(rows[0][0])
            activations = await tx.fetch(_ACTIVATIONS, site, to_ts)
            tariffs = await tx.fetch(_TARIFFS, site, to_ts)
            order = [row[0] for row in await tx.fetch("SELECT ruleset FROM ruleset WHERE site = ? ORDER BY id", site)]
        changes: list[tuple[int, str, str, str | None]] = [(ts, "tariff", name, text) for name, ts, text in tariffs]
        changes += [(ts, "ruleset", name, text) for name, _, ts, text in activations]
        changes.sort(key=lambda change: change[0])
        return _timeline(settings, order, changes, from_ts)


def _timeline(
    settings: dict[str, Any], order: list[str], changes: list[tuple[int, str, str, str | None]], from_ts: int
) -> list[tuple[int, SiteDocument]]:
    """Documents by the instant from which they hold; tariffs that came later than needed count from the beginning."""
    tariffs: dict[str, Any] = {}
    rulesets: dict[str, Any] = {}
    for _, kind, name, text in changes:
        if kind == "tariff" and name not in tariffs and text is not None:
            tariffs[name] = msgspec.json.decode(text)
    found: list[tuple[int, SiteDocument]] = []
    for ts, kind, name, text in changes:
        if not found and ts > from_ts:
            found.append((from_ts, _document(settings, order, tariffs, rulesets)))
        known = tariffs if kind == "tariff" else rulesets
        if text is None:
            known.pop(name, None)
        else:
            known[name] = msgspec.json.decode(text)
        if ts > from_ts:
            document = _document(settings, order, tariffs, rulesets)
            if found[-1][0] == ts:
                found[-1] = (ts, document)
            else:
                found.append((ts, document))
    return found or [(from_ts, _document(settings, order, tariffs, rulesets))]


def _document(
    settings: dict[str, Any], order: list[str], tariffs: dict[str, Any], rulesets: dict[str, Any]
) -> SiteDocument:
    return SiteDocument(settings, dict(tariffs), {name: rulesets[name] for name in order if name in rulesets})


class _Facts:
    """What SQL knows of the devices and accounts of some groups as of an instant."""

    def __init__(self, site: str, at: int, act_heads: dict[str, int]) -> None:
        self.site = site
        self.at = at
        self.act_heads = act_heads

    async def load(self, tx: Transaction, acts: list[ContractsChanged], groups: Iterable[str]) -> None:
        meters = {meter.id for act in acts for meter in act.meters}
        breakers = {breaker.id for act in acts for breaker in act.breakers}
        gateways = {act.gateway for act in acts if act.gateway}
        gateways |= {meter.gateway for act in acts for meter in act.meters if meter.gateway}
        gateways |= {breaker.gateway for act in acts for breaker in act.breakers if breaker.gateway}
        tenants = {act.contract.id for act in acts if act.contract}
        before = (self.at - YEAR_MS,)
        self.balances = await self._map(tx, _BALANCES, {wallet(name) for name in tenants}, ts_first=True)
        self.heads = {row[0]: row for row in await self._rows(tx, _HEADS, meters, ts_first=False)}
        self.months: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for meter, month, use in await self._rows(tx, _MONTHS, meters, *before, ts_first=False):
            self.months[meter][month] = int(use)
        self.relays = {row[0]: row for row in await self._rows(tx, _RELAYS, breakers, ts_first=True)}
        self.supply = {row[0]: row for row in await self._rows(tx, _SUPPLY, tenants, ts_first=True)}
        rows = await self._rows(tx, _CONNECTIONS, {*meters, *breakers, *gateways}, ts_first=True)
        self.connections = {row[0]: Connection(row[1], row[2], row[3]) for row in rows}
        self.locks: defaultdict[str, dict[str, Lock]] = defaultdict(dict)
        for row in await self._rows(tx, _LOCKS, breakers, ts_first=True):
            breaker, kind, active, who, why, since, until, rule, version = row
            if active and (until is None or until > self.at):
                self.locks[breaker][kind] = Lock(who, why, since, until, rule, version)
        self.rules: defaultdict[tuple[str, str], dict[str, RuleState]] = defaultdict(dict)
        for rule, twin, record in await self._rows(tx, _RULES, {*meters, *breakers, *gateways, *groups}, ts_first=True):
            told = msgspec.json.decode(record)
            if told.get("memory"):
                self.rules[told.get("scope", ""), twin][rule] = msgspec.convert(told["memory"], RuleState)

    async def _rows(self, tx: Transaction, sql: str, names: Iterable[str], *more: Any, ts_first: bool) -> Any:
        listed, value = in_list(tx, names)
        values = (self.at, value, *more) if ts_first else (value, self.at, *more)
        return await tx.fetch(sql.format(names=listed), self.site, *values)

    async def _map(self, tx: Transaction, sql: str, names: Iterable[str], *, ts_first: bool) -> dict[str, int]:
        return {row[0]: int(row[1]) for row in await self._rows(tx, sql, names, ts_first=ts_first)}

    def _memory(self, scope: str, name: str) -> dict[str, RuleState]:
        """What rules remembered of a twin; old records do not say of which kind it was."""
        unsaid = self.rules.get(("", name), {}) if scope in ("meter", "tenant") else {}
        return {**unsaid, **self.rules.get((scope, name), {})}

    def group(self, name: str, act: ContractsChanged, credited: Any) -> Group:
        group = Group(self.site, name, act.contract, acts_seq=self.act_heads.get(name, act.seq), wake=self.at)
        group.meter_contracts = {meter.id: meter for meter in act.meters}
        group.breaker_contracts = {breaker.id: breaker for breaker in act.breakers}
        group.meters = {meter.id: self._meter(meter.id, meter.modulus, meter.gateway) for meter in act.meters}
        group.breakers = {breaker.id: self._breaker(breaker.id, breaker.gateway) for breaker in act.breakers}
        if act.gateway is not None:
            group.gateway = GatewayTwin(act.gateway, conn=self._connection(act.gateway))
            group.gateway.rules = self._memory("gateway", act.gateway)
        if act.contract is not None:
            group.tenant = self._tenant(name, act.contract.id, credited)
        return group

    def _connection(self, device: str) -> Connection:
        return self.connections.get(device) or Connection()

    def _link(self, gateway: str | None) -> Connection | None:
        return self.connections.get(gateway) if gateway else None

    def _breaker(self, name: str, gateway: str | None) -> BreakerTwin:
        breaker = BreakerTwin(name, locks=self.locks.get(name, {}), conn=self._connection(name))
        breaker.rules = self._memory("breaker", name)
        breaker.link = self._link(gateway)
        if name in self.relays:
            _, breaker.relay, breaker.relay_at = self.relays[name]
            breaker.relay_since = breaker.relay_at
        return breaker

    def _meter(self, name: str, modulus: int, gateway: str | None) -> MeterTwin:
        meter = MeterTwin(name, rules=self._memory("meter", name), conn=self._connection(name))
        meter.link = self._link(gateway)
        if name in self.heads:
            row = self.heads[name]
            head = row["head_qty"]
            register = Register(epoch=row["epoch"], opening=row["opening"], seen=head, head=head, posted=head)
            register.opened, register.since, register.turns = True, row["opened_ts"], head // modulus
            register.seen_ts = register.head_ts = register.posted_ts = row["head_ts"]
            used = self.months.get(name)
            if used:
                register.month = max(used)
                register.month_use = used[register.month]
                year = register.month // MONTHS_APART
                register.year_use = sum(use for month, use in used.items() if month // MONTHS_APART == year)
            meter.register = register
        return meter

    def _tenant(self, group: str, name: str, credited: Any) -> TenantTwin:
        twin = TenantTwin(name, rules=self._memory("tenant", group))
        if name in self.supply:
            _, twin.state, twin.state_since = self.supply[name]
        if isinstance(credited, CreditsPosted):
            twin.credits_nano, twin.credits_seq = credited.credits_nano, credited.seq
        twin.charges_nano = twin.credits_nano - self.balances.get(wallet(name), 0)
        return twin


def _of_groups(tx: Transaction, groups: Collection[str] | None) -> tuple[str, tuple[Any, ...]]:
    if groups is None:
        return "", ()
    listed, value = in_list(tx, groups)
    return f" AND group_id {listed}", (value,)
