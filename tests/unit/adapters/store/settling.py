"""A park with every kind of fee, and months of its energy, for the tests of settlement."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from adapters.store.bills.settlement import SqlSettlement
from adapters.store.engine.database import Database
from adapters.store.posting.ledger import SqlLedger
from adapters.store.sites.registry import SqlRegistry
from billing.local_time import month_start
from billing.monthly_fees import days_of_month, month_index
from billing.rating import rate
from billing.tariff import Tariff, compile_tariff
from twin.core.effects import ChargePosted, EpochOpened
from twin.flows.settle_month import Missing, Settlement, SettleOptions
from twin.ports import Entry, PendingAct, SiteDocument, TopUp

SITE = "park-s"
HOUR = 3_600_000
DAY = 24 * HOUR


class StillClock:
    """A clock that the test moves."""

    def __init__(self, now: int) -> None:
        self.at = now

    def now(self) -> int:
        return self.at

    def observe(self, ts: int) -> None:
        """Not followed."""

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")


class Carrier:
    """Takes acts and keeps them."""

    def __init__(self) -> None:
        self.acts: list[PendingAct] = []

    async def deliver(self, acts: Any) -> int:
        self.acts += acts
        return len(acts)


def tariffs() -> dict[str, dict[str, Any]]:
    """A tariff with periods, surcharge, fee, demand and minimum; one with a package; water."""
    calendar = [{"months": "all", "days": "all", "slots": {"00:00-08:00": "valley", "08:00-24:00": "peak"}}]
    shop = {
        "from": "2025-01-01T00:00:00",
        "mode": "tou",
        "periods": {"peak": "1.20", "valley": "0.40"},
        "calendar": calendar,
        "surcharges": [{"name": "fund", "per_unit": "0.0150"}],
        "fixed": [{"name": "service", "per_month": "30.00"}],
        "demand": {"price": "38.00", "window": "1h"},
        "capacity": {"price": "10.00"},
    }
    small = {"from": "2025-01-01T00:00:00", "mode": "flat", "price": "0.85", "minimum_per_month": "50.00"}
    small["package"] = {"name": "basic", "per_month": "10.00"}  # type: ignore[assignment]
    water = {"from": "2025-01-01T00:00:00", "mode": "flat", "price": "4.10"}
    made = {"shop": ("electricity", shop), "small": ("electricity", small), "water": ("water", water)}
    return {
        name: {"apiVersion": "twinmeter.tariff/v1", "tariff": name, "utility": utility, "versions": [version]}
        for name, (utility, version) in made.items()
    }


def document(timezone: str = "Asia/Shanghai", **changes: Any) -> SiteDocument:
    """Two customers with three wallets, a lift and a master meter."""
    meters = ["em-1", "em-2", "em-lift", "em-main"]
    site: dict[str, Any] = {
        "apiVersion": "twinmeter.site/v1",
        "site": SITE,
        "name": {"zh": "示范园区", "en": "Example park"},
        "timezone": timezone,
        "currency": "CNY",
        "interval": "15m",
        "settlement": {"day": 2, "hour": 6, "prefix": "S-{year}-", "letterhead": {"zh": "物业", "en": "Property"}},
        "apportionments": [
            {"id": "lift", "name": {"zh": "电梯", "en": "Lift"}, "meter": "em-lift", "price": "0.55", "by": "area"},
            {"id": "loss", "master": "em-main", "subs": ["em-1", "em-2", "em-lift"], "price": "0.50", "by": "own_use"},
        ],
        "devices": [
            *({"id": name, "kind": "electricity_meter", "opening_wh": 0} for name in meters),
            {"id": "wm-1", "kind": "water_meter", "opening_l": 0},
        ],
        "tenants": [
            {
                "id": "t-1",
                "name": "老王面馆",
                "mode": "prepaid",
                "opening_credit": "100.00",
                "area_m2": "80",
                "capacity_kw": "5",
                "supplies": [{"meter": "em-1", "tariff": "shop"}],
            },
            {
                "id": "t-1-water",
                "name": "老王面馆（水）",
                "mode": "prepaid",
                "holder": "t-1",
                "supplies": [{"meter": "wm-1", "tariff": "water"}],
            },
            {
                "id": "t-2",
                "name": "Tea house",
                "mode": "prepaid",
                "area_m2": "40",
                "supplies": [{"meter": "em-2", "tariff": "small"}],
            },
        ],
        **changes,
    }
    return SiteDocument(site, tariffs(), {})


class Park:
    """A park in a database: charges as its twins would post them, and its settlement."""

    def __init__(self, database: Database, timezone: str = "Asia/Shanghai") -> None:
        self.database = database
        self.zone = ZoneInfo(timezone)
        self.ledger = SqlLedger(database)
        self.book = SqlSettlement(database)
        self.clock = StillClock(self.start_of(202601) - 30 * DAY)
        self.carrier = Carrier()
        self.missing: list[Missing] = []
        self.tariffs: dict[str, Tariff] = {name: compile_tariff(one, timezone) for name, one in tariffs().items()}
        self.entries = 0
        self.heads: dict[str, tuple[int, int, int]] = {}
        self.settlement = Settlement(self.book, self.carrier, self.clock, readings=self._readings, rerate=self._rerate)
        self.rerated = 0

    async def _readings(self, site: str, end_ts: int) -> list[Missing]:
        assert site == SITE
        return self.missing

    async def _rerate(self, site: str) -> None:
        self.rerated += 1

    def start_of(self, month: int) -> int:
        """Unix ms of a local month's beginning."""
        return month_start(self.zone, month_index(month))

    async def import_site(self, **changes: Any) -> None:
        """Import the park; the chains are open from the beginning of 2026."""
        site = document(self.zone.key, **changes)
        await SqlRegistry(self.database).apply(site, who="test", now=self.clock.at)
        for device in site.site["devices"]:
            await self.open(device["id"], self.start_of(202601))

    async def open(self, meter: str, ts: int, epoch: int = 1, opening: int = 0, reason: str = "import") -> None:
        """A register epoch begins."""
        self.heads[meter] = (epoch, opening, ts)
        await self.post(EpochOpened(meter, epoch, opening, ts, reason))

    async def post(self, *effects: Any, group: str = "t-1") -> None:
        """One entry of the effect stream."""
        self.entries += 1
        await self.ledger.post(SITE, [Entry(f"{self.clock.at}-{self.entries}", group, effects)])

    async def use(self, meter: str, tenant: str, tariff: str, to_ts: int, quantity: int) -> None:
        """A tenant uses so much of a meter until an instant (empty tenant: the landlord)."""
        epoch, qty, ts = self.heads[meter]
        rated = rate(self.tariffs[tariff], ts, to_ts, qty, qty + quantity, 0, 0)
        account = f"tenant:{tenant}:wallet" if tenant else "landlord:vacancy"
        charges = [
            ChargePosted(
                *(meter, epoch, one.from_qty, one.to_qty, one.from_ts, one.to_ts, tenant, account),
                *(self.tariffs[tariff].utility, tariff, one.version, one.month, one.price_micro, one.amount_nano),
                period=one.period,
                tier=one.tier,
                estimated=one.estimated,
            )
            for one in rated.slices
        ]
        self.heads[meter] = (epoch, qty + quantity, to_ts)
        await self.post(*charges, group=tenant or f"@{meter}")

    async def month(self, month: int, factor: int = 1) -> None:
        """A month of everybody's use: by the day, with a border of every price on a sample."""
        end = self.start_of(month + 1 if month % 100 < 12 else month + 89)
        for day in days_of_month(self.zone, month):
            await self.use("em-1", "t-1", "shop", day.start_ms + 8 * HOUR, 2_000 * factor)
            await self.use("em-1", "t-1", "shop", day.end_ms, 8_000 * factor)
        await self.use("em-2", "t-2", "small", end, 31_000 * factor)
        await self.use("em-lift", "", "small", end, 100_001 * factor)
        used = sum(self.heads[name][1] for name in ("em-1", "em-2", "em-lift"))
        await self.use("em-main", "", "small", end, used + 7_777 - self.heads["em-main"][1])
        await self.use("wm-1", "t-1-water", "water", end, 12_340 * factor)

    async def pay(self, tenant: str, yuan: int, key: str, ts: int | None = None) -> None:
        """A top-up."""
        at = ts if ts is not None else self.clock.at
        await self.ledger.top_up(SITE, TopUp(tenant, yuan * 10**9, "cash", "", key, "desk", at))

    async def settle(self, month: int, **options: Any) -> Any:
        """Settle a month a day after its end."""
        return await self.settlement.settle(SITE, month, SettleOptions(**{"who": "tester", **options}))

    async def balance(self, tenant: str) -> int:
        """Credits less charges as the accounts have them."""
        rows = await self.database.fetch(
            "SELECT credits_nano - charges_nano FROM account WHERE site = ? AND account = ?",
            *(SITE, f"tenant:{tenant}:wallet"),
        )
        return int(rows[0][0])
