"""Twins from SQL alone: what every group would be if Redis had never been.

Each register stands at the end of its chain, each tenant at the posted totals, each breaker with its standing locks,
each rule with what it last remembered, so that a grace that was running runs on.
What Redis alone knew since the last posting is charged again by the next reading, because the chain goes on exactly
here. Groups are read in pages from one instant of the database, so memory does not grow with the site.
"""

from __future__ import annotations

from collections import defaultdict
from sys import intern
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.journals.accounts import wallet
from adapters.store.sites.contracts import device_contracts, tenant_contracts
from adapters.store.sites.owed_acts import owed_acts
from adapters.store.sites.owed_registers import REPLACED, events_by_meter, newest_events, owed_registers
from adapters.store.sites.payers import current_payers, rented
from adapters.store.sites.site_state import load_supplies
from adapters.store.sites.standing_locks import standing_locks
from billing.late_points import place_late
from billing.points import Point, unpack
from rules.state import RuleState
from twin.core.accrual import accept
from twin.core.incidents import OF_BREAKERS
from twin.core.model import (
    BreakerTwin,
    Configuration,
    GatewayTwin,
    Group,
    Incident,
    MeterTwin,
    Register,
    TenantTwin,
)
from twin.core.revival import LastCommand, look_at_everything, revived_breaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from adapters.store.engine.database import Database, Row, Transaction
    from adapters.store.sites.site_state import SupplyRow
    from twin.core.model import MeterContract
    from twin.ports import Contracts

PAGE = 500

_TENANTS = (
    "SELECT tenant, settings, supply_state, supply_state_since FROM tenant WHERE site = ? AND tenant > ?"
    " ORDER BY tenant LIMIT ?"
)
"""A page by name: an index leads to it. By number, the whole site would be sorted for every page."""
_DEVICES = "SELECT device, settings FROM device WHERE site = ? AND device > ? ORDER BY device LIMIT ?"
_CHAINS = (
    "SELECT meter, epoch, opening, head_qty, head_ts, month, month_use, year_use, ratio, opened_ts, event"
    " FROM register_epoch"
    " WHERE site = ? AND meter {names} ORDER BY meter, epoch"
)
_LAST_POINTS = (
    "SELECT e.meter, e.points FROM register_epoch p JOIN energy e ON e.site = p.site AND e.meter = p.meter"
    " AND e.epoch = p.epoch WHERE p.site = ? AND p.meter {names} AND p.epoch = (SELECT max(l.epoch) FROM register_epoch"
    " l WHERE l.site = p.site AND l.meter = p.meter) AND length(e.points) > 0 AND e.to_qty = (SELECT max(n.to_qty) FROM"
    " energy n WHERE n.site = e.site AND n.meter = e.meter AND n.epoch = e.epoch AND length(n.points) > 0)"
)
"""The newest samples of the last epoch of each meter: some may lie beyond the end of its chain."""
_SAID = (
    "SELECT l.meter, l.ts, l.qty FROM late_reading l JOIN register_epoch p ON p.site = l.site AND p.meter = l.meter"
    " AND p.epoch = l.epoch WHERE l.site = ? AND l.meter {names} AND l.source <> 'device' AND p.head_ts IS NOT NULL"
    " AND l.ts > p.head_ts AND p.epoch = (SELECT max(n.epoch) FROM register_epoch n WHERE n.site = p.site"
    " AND n.meter = p.meter) ORDER BY l.ts, l.qty"
)
"""What people have read beyond the end of the chain."""
_ACCOUNTS = "SELECT account, credits_nano, credits_seq, charges_nano FROM account WHERE site = ? AND account {names}"
_ACT_HEADS = "SELECT group_id, seq FROM act_head WHERE site = ? AND group_id {names}"
_FREED = (
    "SELECT breaker, ts FROM standing_lock WHERE site = ? AND breaker {names} AND lock = 'schedule' AND NOT active"
    " AND who NOT IN ('calendar/schedule', 'platform')"
)
"""Schedules that a person has taken off: until the next window they stay off."""
_COMMANDS = (
    "SELECT c.device, c.fence, c.target, c.state, c.ts, EXISTS (SELECT 1 FROM relay_report r WHERE r.site = c.site"
    " AND r.breaker = c.device AND r.relay = 'closed' AND r.ts >= c.issued) AS closed_since FROM command c JOIN"
    " (SELECT device, max(fence) AS fence FROM command WHERE site = ? AND device {names} GROUP BY device) newest"
    " ON newest.device = c.device AND newest.fence = c.fence WHERE c.site = ?"
)
_CONFIGS = (
    "SELECT c.device, c.ver, c.settings FROM device_config c JOIN (SELECT device, max(ver) AS ver FROM device_config"
    " WHERE site = ? AND device {names} GROUP BY device) newest ON newest.device = c.device AND newest.ver = c.ver"
    " WHERE c.site = ?"
)
_INCIDENTS = (
    "SELECT device, kind, since, count, detail FROM incident WHERE site = ? AND device {names}"
    " AND resolved_ts IS NULL AND kind <> 'ledger_refused' ORDER BY since"
)
"""Open incidents of devices; those of the ledger are no twin's to heal."""
_PARAMS = "SELECT scope, twin, name, value FROM rule_param WHERE site = ? AND twin {names} AND value IS NOT NULL"
_WARNED = (
    "SELECT n.tenant, min(n.settled_ts) FROM notification n WHERE n.site = ? AND n.tenant {names}"
    " AND n.state = 'delivered' AND n.recipient = 'tenant'"
    " AND n.template IN ('arrears_warning', 'low_balance', 'warning_cut')"
    " AND n.settled_ts > COALESCE((SELECT max(c.ts) FROM supply_change c WHERE c.site = n.site AND c.tenant = n.tenant"
    " AND c.state_after = 'NORMAL'), 0) GROUP BY n.tenant"
)
"""The first warning that was delivered since the balance last was in order."""
_RULES = (
    "SELECT r.rule, r.twin, r.record FROM rule_change r JOIN"
    " (SELECT rule, twin, max(id) AS id FROM rule_change WHERE site = ? AND twin {names} GROUP BY rule, twin) newest"
    " ON newest.id = r.id"
)


async def rebuilt_groups(database: Database, site: str) -> AsyncIterator[Group]:
    """Every group of a site, streamed. Raises LookupError for a site that was never imported."""
    async with database.snapshot() as tx:
        rows = await tx.fetch("SELECT settings, imported_ts FROM site WHERE id = ?", site)
        if not rows:
            raise LookupError(f"site {site!r} is not in the database; import its site file first")
        settings, at = msgspec.json.decode(rows[0][0]), rows[0][1]
        supplies = await load_supplies(tx, site)
        payers, former = current_payers(supplies, at), rented(supplies, at)
        by_tenant = _by_tenant(payers.values())
        async for page in _pages(tx, _TENANTS, (site,)):
            for group in await _tenant_groups(tx, site, settings, by_tenant, page):
                yield group
        taken = payers.keys() | {supply.breaker for supply in payers.values() if supply.breaker}
        async for page in _pages(tx, _DEVICES, (site,)):
            contracts = [
                device_contracts(settings, msgspec.json.decode(row["settings"]), rented=row["device"] in former)
                for row in page
                if row["device"] not in taken
            ]
            for group in await _groups(tx, site, contracts, {}):
                yield group


def _by_tenant(supplies: Iterable[SupplyRow]) -> dict[str, list[SupplyRow]]:
    """Supplies by who pays, in their order. Looked up by every page, so that a page costs the same on any site."""
    found: dict[str, list[SupplyRow]] = {}
    for supply in supplies:
        found.setdefault(supply.tenant, []).append(supply)
    return found


async def _pages(tx: Transaction, sql: str, values: tuple[Any, ...]) -> AsyncIterator[Sequence[Row]]:
    """Rows by their first column, a page at a time."""
    after = ""
    while page := await tx.fetch(sql, *values, after, PAGE):
        yield page
        after = page[-1][0]


async def _tenant_groups(
    tx: Transaction, site: str, settings: dict[str, Any], by_tenant: Mapping[str, list[SupplyRow]], page: Sequence[Row]
) -> list[Group]:
    tenants = {row["tenant"]: row for row in page}
    supplies = {name: by_tenant.get(name, []) for name in tenants}
    wanted = {name for rows in supplies.values() for row in rows for name in (row.meter, row.breaker) if name}
    devices = {
        row[0]: msgspec.json.decode(row[1])
        for row in await _named(
            tx, "SELECT device, settings FROM device WHERE site = ? AND device {names}", site, wanted
        )
    }
    contracts = [
        tenant_contracts(settings, msgspec.json.decode(row["settings"]), supplies[name], devices)
        for name, row in tenants.items()
    ]
    states = {name: (row["supply_state"], row["supply_state_since"]) for name, row in tenants.items()}
    return await _groups(tx, site, contracts, states)


async def _groups(
    tx: Transaction, site: str, contracts: Sequence[Contracts], states: dict[str, tuple[str, int]]
) -> list[Group]:
    """Groups from their contracts and from everything that SQL knows of their devices."""
    facts = _Facts()
    await facts.load(tx, site, contracts)
    return [facts.group(site, item, states.get(item.group)) for item in contracts]


class _Facts:
    """What SQL knows of the devices and accounts of one page of groups."""

    async def load(self, tx: Transaction, site: str, contracts: Sequence[Contracts]) -> None:
        meters = [meter.id for item in contracts for meter in item.meters]
        breakers = [breaker.id for item in contracts for breaker in item.breakers]
        gateways = [item.gateway for item in contracts if item.gateway]
        groups = [item.group for item in contracts]
        accounts = [wallet(item.contract.id) for item in contracts if item.contract]
        # Ordered by epoch: the last epoch of a meter is the one that counts.
        epochs = await _named(tx, _CHAINS, site, meters)
        self.chains = {row[0]: row for row in epochs}
        self.posted_events = newest_events(epochs)
        self.replaced = events_by_meter(await _named(tx, REPLACED, site, meters))
        self.points = {row[0]: unpack(bytes(row[1])) for row in await _named(tx, _LAST_POINTS, site, meters)}
        self.said: defaultdict[str, list[Point]] = defaultdict(list)
        for meter, ts, qty in await _named(tx, _SAID, site, meters):
            self.said[meter].append(Point(ts, qty))
        self.accounts = {row[0]: row for row in await _named(tx, _ACCOUNTS, site, accounts)}
        tenants = [item.contract.id for item in contracts if item.contract]
        self.warned = {row[0]: row[1] for row in await _named(tx, _WARNED, site, tenants)}
        self.act_heads = {row[0]: row[1] for row in await _named(tx, _ACT_HEADS, site, groups)}
        self.owed = await owed_acts(tx, site, *in_list(tx, groups))
        self.generation = (await tx.fetch("SELECT generation FROM site WHERE id = ?", site))[0][0]
        names, values = in_list(tx, breakers)
        self.commands = {
            row["device"]: row for row in await tx.fetch(_COMMANDS.format(names=names), site, values, site)
        }
        self.configs = {
            row["device"]: Configuration(row["ver"], msgspec.json.decode(row["settings"]))
            for row in await tx.fetch(_CONFIGS.format(names=names), site, values, site)
        }
        self.locks = await standing_locks(tx, site, f"AND breaker {names}", values)
        self.freed = dict(map(tuple, await _named(tx, _FREED, site, breakers)))
        self.incidents: defaultdict[str, dict[str, Incident]] = defaultdict(dict)
        for device, kind, since, count, detail in await _named(tx, _INCIDENTS, site, {*meters, *breakers, *gateways}):
            self.incidents[device][kind] = Incident(kind, since, count, detail)
        self.rules: defaultdict[tuple[str, str], dict[str, RuleState]] = defaultdict(dict)
        for rule, twin, record in await _named(tx, _RULES, site, {*meters, *breakers, *gateways, *groups}):
            told = msgspec.json.decode(record)
            if told.get("memory"):
                # One id can be that of a meter, of its breaker and of a tenant: each has its own rules.
                self.rules[told.get("scope", ""), twin][rule] = msgspec.convert(told["memory"], RuleState)
        self.params: defaultdict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
        for scope, twin, name, value in await _named(
            tx,
            _PARAMS,
            site,
            {*meters, *breakers, *gateways, *(item.contract.id for item in contracts if item.contract)},
        ):
            self.params[scope, twin][name] = msgspec.json.decode(value)

    def group(self, site: str, contracts: Contracts, state: tuple[str, int] | None) -> Group:
        group = Group(site, contracts.group, contracts.contract, acts_seq=self.act_heads.get(contracts.group, 0))
        group.owed = self.owed.get(contracts.group)
        group.meter_contracts = {meter.id: meter for meter in contracts.meters}
        group.breaker_contracts = {breaker.id: breaker for breaker in contracts.breakers}
        group.meters = {meter.id: self._meter(meter) for meter in contracts.meters}
        group.breakers = {name: self._breaker(name, combined=name in group.meters) for name in group.breaker_contracts}
        if contracts.gateway:
            name = contracts.gateway
            group.gateway = GatewayTwin(
                name, incidents=self.incidents.get(name, {}), rules=self._rules("gateway", name)
            )
            group.gateway.params = self.params.get(("gateway", name), {})
        if contracts.contract is not None:
            group.tenant = self._tenant(contracts.contract.id, state or ("NORMAL", 0))
            look_at_everything(group)
        return group

    def _rules(self, scope: str, name: str) -> dict[str, RuleState]:
        """What rules remember of a twin; records from before rules had other twins than meters and tenants do not
        say which it was."""
        unsaid = self.rules.get(("", name), {}) if scope in ("meter", "tenant") else {}
        return {**unsaid, **self.rules.get((scope, name), {})}

    def _breaker(self, name: str, *, combined: bool) -> BreakerTwin:
        row = self.commands.get(name)
        last = None
        if row is not None:
            last = LastCommand(row["fence"], row["target"], row["state"], row["ts"], bool(row["closed_since"]))
        breaker = revived_breaker(name, self.locks.get(name, {}), last, self.generation, self.configs.get(name))
        breaker.rules = self._rules("breaker", name)
        breaker.params = self.params.get(("breaker", name), {})
        breaker.freed_at = self.freed.get(name)
        known = self.incidents.get(name, {})
        breaker.incidents = {kind: known[kind] for kind in known if not combined or kind in OF_BREAKERS}
        return breaker

    def _meter(self, contract: MeterContract) -> MeterTwin:
        name = contract.id
        known = {kind: one for kind, one in self.incidents.get(name, {}).items() if kind not in OF_BREAKERS}
        meter = MeterTwin(name, incidents=known, rules=self._rules("meter", name))
        meter.params = self.params.get(("meter", name), {})
        if name in self.chains:
            row = self.chains[name]
            events, posted = self.replaced.get(name, ()), self.posted_events.get(name, 0)
            meter.owed = owed_registers(
                contract.ratio, contract.modulus // contract.ratio, events, posted, row["ratio"]
            )
            modulus = meter.owed[0].modulus if meter.owed else contract.modulus
            head, head_ts = row["head_qty"], row["head_ts"]
            register = Register(epoch=row["epoch"], opening=row["opening"], seen=head, head=head, posted=head)
            register.opened = True
            register.turns = head // modulus
            register.since = row["opened_ts"]
            register.seen_ts = register.head_ts = register.posted_ts = head_ts
            register.month, register.month_use, register.year_use = row["month"], row["month_use"], row["year_use"]
            # What people have read since is of the other register: its next reading says it again.
            said = [one for one in self.said.get(name, []) if not meter.owed or one.ts <= meter.owed[0].ts]
            _go_on(register, _with_said(self.points.get(name, []), said), modulus)
            meter.register = register
        return meter

    def _tenant(self, name: str, state: tuple[str, int]) -> TenantTwin:
        # The word of the model itself, where it is one: storing a twin leaves out what is its default.
        twin = TenantTwin(name, state=intern(state[0]), state_since=state[1], rules=self._rules("tenant", name))
        twin.params = self.params.get(("tenant", name), {})
        twin.warned_at = self.warned.get(name) if state[0] != "NORMAL" else None
        if wallet(name) in self.accounts:
            _, twin.credits_nano, twin.credits_seq, twin.charges_nano = self.accounts[wallet(name)]
        return twin


def _with_said(points: Sequence[Point], said: Sequence[Point]) -> Sequence[Point]:
    """The newest samples with what people have read since, where the two agree."""
    if not said:
        return points
    agreeing, _ = place_late(points or said[:1], said)
    return agreeing


def _go_on(register: Register, points: Sequence[Point], modulus: int) -> None:
    """Take the samples beyond the end of the chain: they came with the row that ends within their pair, and the twin
    charges from there to them as if it had never been lost."""
    if register.head_ts is None:
        return
    for point in points:
        if (point.ts, point.qty) <= (register.head_ts, register.head) or point.qty < register.head:
            if point.qty == register.head:
                register.seen_rates = register.head_rates = point.rates
            continue
        accept(register, point.qty, point.ts, point.rates)
    register.turns = register.seen // modulus


async def _named(tx: Transaction, sql: str, site: str, names: Iterable[str]) -> Sequence[Row]:
    """Rows of a statement in which `{names}` stands for the condition to be one of the names."""
    listed, values = in_list(tx, names)
    return await tx.fetch(sql.format(names=listed), site, values)


def in_list(tx: Transaction | Database, names: Iterable[str]) -> tuple[str, Any]:
    """A condition that a column is one of the names, however many, and the one value that carries them."""
    if tx.engine == "sqlite":
        return "IN (SELECT value FROM json_each(?))", msgspec.json.encode(sorted(names)).decode()
    return "= ANY(?::text[])", sorted(names)
