"""A small stage for tests of the core: one tenant, one meter with a relay, the contract's own ruleset, a hand on
the clock."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from ruamel.yaml import YAML

from billing.money import parse_money
from billing.tariff import compile_tariff
from rules.ruleset import compile_ruleset
from twin.core.decide import decide
from twin.core.messages import (
    Birth,
    CommandAnswered,
    CommandSent,
    ContractsChanged,
    CreditsPosted,
    LockPlaced,
    LockReleased,
    StateReported,
    Telemetry,
    Tick,
)
from twin.core.model import BreakerContract, Contract, Group, MeterContract
from twin.core.policy import SitePolicy
from twin.core.view import TWIN_MODEL

ZONE = ZoneInfo("Asia/Shanghai")
MIDNIGHT = 1_767_888_000_000
"""2026-01-09 00:00 in Shanghai, a Friday: a working day outside the holidays."""
MINUTE = 60_000
HOUR = 60 * MINUTE
PACK = Path(__file__).parents[3] / "rules" / "packs" / "residential-prepaid.yaml"

FLAT = {
    "apiVersion": "twinmeter.tariff/v1",
    "tariff": "flat",
    "utility": "electricity",
    "versions": [{"from": "2020-01-01T00:00:00", "mode": "flat", "price": "1.0000"}],
}
TOU = {
    "apiVersion": "twinmeter.tariff/v1",
    "tariff": "tou",
    "utility": "electricity",
    "versions": [
        {
            "from": "2020-01-01T00:00:00",
            "mode": "tou",
            "periods": {"day": "1.0000", "night": "0.5000"},
            "calendar": [{"months": "all", "days": "all", "slots": {"00:00-08:00": "night", "08:00-24:00": "day"}}],
        }
    ],
}

TOU_METER = {
    "apiVersion": "twinmeter.tariff/v1",
    "tariff": "tou-meter",
    "utility": "electricity",
    "versions": [
        {
            "from": "2020-01-01T00:00:00",
            "mode": "tou",
            "periods_from": "meter",
            "periods": {"peak": "1.0000", "valley": "0.5000"},
            "calendar": [{"months": "all", "days": "all", "slots": {"00:00-08:00": "valley", "08:00-24:00": "peak"}}],
        }
    ],
}


def contract_ruleset():
    """The example ruleset of the contract, as rule authors have it."""
    return compile_ruleset(YAML(typ="safe").load(PACK.read_text(encoding="utf-8")), TWIN_MODEL)


def make_policy(*, rulesets=None, params=None, skew_ms=300_000, interval_ms=900_000) -> SitePolicy:
    tariffs = {doc["tariff"]: compile_tariff(doc, "Asia/Shanghai") for doc in (FLAT, TOU, TOU_METER)}
    return SitePolicy(
        site="park-1",
        zone=ZONE,
        currency="CNY",
        interval_ms=interval_ms,
        tariffs=tariffs,
        rulesets=rulesets if rulesets is not None else [contract_ruleset()],
        params=params or {},
        skew_ms=skew_ms,
    )


class Scene:
    """Plays messages into one group and remembers every effect."""

    def __init__(
        self,
        *,
        credit="100.00",
        tariff="flat",
        policy=None,
        params=None,
        interval_ms=15 * MINUTE,
        start=MIDNIGHT,
        **more,
    ):
        self.policy = policy or make_policy()
        self.now = start
        self.effects = []
        self.seq = 0
        self.act = 0
        self.sid = "s1"
        self.group = Group("park-1", "t-001")
        self.wh = more.pop("opening", 1000)
        contract = Contract(
            "t-001", mode=more.pop("mode", "prepaid"), account="t-001", params=params or {}, **more.pop("contract", {})
        )
        meter = MeterContract(
            "em-001",
            tariff=tariff,
            breaker="em-001",
            gateway="gw-01",
            interval_ms=interval_ms,
            max_rate=more.pop("max_rate", 13_800),
            modulus=more.pop("modulus", 1_000_000_000),
            supply_from=start,
            **more,
        )
        breaker = BreakerContract("em-001", meters=("em-001",), gateway="gw-01")
        self.contracts = {"contract": contract, "meters": (meter,), "breakers": (breaker,)}
        self.play(ContractsChanged(self.next_act(), start, contract, (meter,), (breaker,), None, {"em-001": self.wh}))
        self.play(Birth("em-001", self.sid, start, "closed"))
        if credit:
            self.credit(credit)

    def next_act(self) -> int:
        self.act += 1
        return self.act

    def play(self, message, now=None):
        """Decide on one message; returns the effects it caused."""
        if now is not None:
            self.now = now
        decision = decide(self.group, message, self.now, self.policy)
        self.group = decision.group
        self.effects += decision.effects
        return list(decision.effects)

    def wait(self, ms):
        """Let time pass, waking the group whenever it wants to be woken."""
        until = self.now + ms
        caused = []
        while self.group.wake is not None and self.group.wake <= until:
            self.now = max(self.now, self.group.wake)
            before = self.group.wake
            caused += self.play(Tick())
            assert self.group.wake is None or self.group.wake > before, "a timer must make progress"
        self.now = until
        return caused

    def sample(
        self, used_wh=0, *, power_w=100, ts=None, hist=False, q="good", raw=None, seq=None, sid=None, **channels
    ):
        """One telemetry sample after `used_wh` more Wh."""
        self.wh += used_wh
        self.seq += 1
        d = {"import_wh": self.wh if raw is None else raw, "power_w": power_w, **channels}
        message = Telemetry(
            "em-001", sid or self.sid, seq or self.seq, self.now if ts is None else ts, d, hist, q, self.now
        )
        return self.play(message)

    def change(self, **meter):
        """Other contracts for the meter."""
        changed = msgspec.structs.replace(self.group.meter_contracts["em-001"], **meter)
        self.contracts["meters"] = (changed,)
        return self.play(ContractsChanged(self.next_act(), self.now, **self.contracts))

    def credit(self, amount):
        total = self.tenant.credits_nano + parse_money(amount) if self.group.tenant else parse_money(amount)
        return self.play(CreditsPosted(self.next_act(), total, parse_money(amount), self.now))

    def lock(self, kind="manual", until=None):
        return self.play(LockPlaced(self.next_act(), "em-001", kind, "lin", "works on the line", self.now, until))

    def unlock(self, kind="manual"):
        return self.play(LockReleased(self.next_act(), "em-001", kind, "lin", "works done", self.now))

    def obey(self, *, executed=True, report=True, settle=True):
        """The device does what the command in flight asks for."""
        command = self.breaker.command
        self.play(CommandSent("em-001", command.id, self.now))
        self.play(CommandAnswered("em-001", command.id, "received", self.now))
        if executed:
            self.play(CommandAnswered("em-001", command.id, "executed", self.now, command.target))
        if report:
            self.play(StateReported("em-001", command.target, self.now))
        if settle:
            self.now += 3_000
            self.sample(power_w=0 if command.target == "open" else 100)

    @property
    def tenant(self):
        return self.group.tenant

    @property
    def meter(self):
        return self.group.meters["em-001"]

    @property
    def breaker(self):
        return self.group.breakers["em-001"]

    @property
    def register(self):
        return self.meter.register

    def caused(self, kind):
        """Effects of one type so far."""
        return [effect for effect in self.effects if isinstance(effect, kind)]
