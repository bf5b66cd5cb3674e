"""Defects that open metering and prepayment systems are known for, each as a test that this one passes.

Three lists, one for each system that was studied, in the order of its letters. Where a whole room is about one of them,
the test here is the shortest proof and names the place of the others. Two need more than the core: (j) of the first,
reconciliation, is tests/unit/adapters/store/test_reconciliation.py; parallel recharges, of the
third, are in tests/conformance/test_ledger.py.
"""

from __future__ import annotations

import msgspec
import pytest

from billing.apportionment import Basis, Member, Shared, apportion
from billing.bill import Line
from billing.demand import peak_demand
from billing.history import Epoch, Occupancy, Tenancy, rate_history
from billing.offline import rate_series
from billing.points import Point
from billing.rating import rate
from billing.rerating import applied, differences
from billing.tariff import TariffError, compile_tariff
from tests.unit.billing.contract import SHANGHAI, at, flat, shop_tou
from tests.unit.billing.lives import payer, posted
from tests.unit.twin.scene import HOUR, MIDNIGHT, MINUTE, Scene, contract_ruleset, make_policy
from twin.core.decide import decide
from twin.core.effects import (
    AlarmChanged,
    ChargePosted,
    CommandChanged,
    LateReading,
    NotificationWanted,
    ReadingQuarantined,
    SupplyStateChanged,
)
from twin.core.messages import Birth, ConnectionChanged, ContractsChanged, CreditsPosted, Telemetry
from twin.core.model import BreakerContract, Contract, Group, MeterContract

SHOP = compile_tariff(shop_tou(), SHANGHAI)
FLAT = compile_tariff(flat(), SHANGHAI)
NOON = at("2026-07-01T12:00")
THURSDAY_NOON = MIDNIGHT - 12 * HOUR


def whole(samples: list[tuple[int, int]], tariff=SHOP) -> list[tuple]:
    return [(one.period, one.tier, one.quantity) for one in rate_series(tariff, samples)]


class TestFirstList:
    def test_a_a_reading_that_crosses_a_tier_pays_each_part_its_own_price(self) -> None:
        """Known defect: one multiplier, chosen by the end of the reading, for all of it."""
        rated = rate(SHOP, NOON, NOON + MINUTE, 0, 10_000, 202607, 235_000)
        assert [(one.tier, one.quantity, one.price_micro) for one in rated.slices] == [
            (0, 5_000, 1_218_400),
            (1, 5_000, 1_268_400),
        ]

    def test_b_a_meter_without_sub_registers_is_billed_by_its_total(self) -> None:
        """Known defect: billed by sub-registers alone, such a meter costs nothing."""
        scene = Scene(tariff="tou-meter")
        scene.now += 9 * HOUR
        scene.sample(900)
        assert scene.tenant.charges_nano == 800 * 500_000 + 100 * 1_000_000
        assert "not told" in scene.meter.incidents["rates_mismatch"].detail

    def test_c_a_missing_price_plan_is_told_and_everything_is_charged_when_it_comes(self) -> None:
        """Known defect: the consumption is saved, the charge is skipped, nobody ever looks again."""
        scene = Scene(tariff="gone")
        for _ in range(3):
            scene.now += 15 * MINUTE
            scene.sample(100)
        assert "tariff_missing" in scene.meter.incidents
        scene.change(tariff="flat")
        scene.now += 15 * MINUTE
        scene.sample(100)
        assert scene.tenant.charges_nano == 400 * 1_000_000

    def test_d_a_glitch_does_not_become_the_baseline(self) -> None:
        scene = Scene()
        for raw in (None, 9_000_000, None, 3, None):
            scene.now += 15 * MINUTE
            scene.sample(100 if raw is None else 0, raw=raw)
        assert scene.tenant.charges_nano == 300 * 1_000_000
        assert [one.raw for one in scene.caused(ReadingQuarantined)] == [9_000_000, 3]

    def test_e_an_older_reading_is_kept_and_refines_what_was_estimated(self) -> None:
        """Known defect: it is dropped."""
        scene = Scene(tariff="tou", start=MIDNIGHT + 7 * HOUR)
        scene.now += 2 * HOUR
        scene.sample(1_000)
        assert scene.tenant.charges_nano == 500 * 500_000 + 500 * 1_000_000
        scene.sample(0, raw=1_900, ts=MIDNIGHT + 8 * HOUR, hist=True)
        told = scene.caused(LateReading)
        assert [(one.raw, one.ts) for one in told] == [(1_900, MIDNIGHT + 8 * HOUR)]
        tariffs = {"tou": scene.policy.tariffs["tou"]}
        who = Occupancy([Tenancy(payer("t-001", "tou"))], tariffs, payer("", ""), SHANGHAI)
        ends = [Point(MIDNIGHT + 7 * HOUR, 1_000), Point(MIDNIGHT + 9 * HOUR, 2_000)]
        before = posted(rate_history([Epoch(1, ends)], who).charges)
        owed = rate_history([Epoch(1, [ends[0], Point(told[0].ts, told[0].raw), ends[1]])], who).charges
        after = applied(before, differences(before, owed), 1)
        assert sum(one.amount_nano for one in after) == 900 * 500_000 + 100 * 1_000_000

    def test_f_emergency_credit_is_used_before_the_cut(self) -> None:
        """Known defect: cut at a balance of zero, whatever was agreed, at any hour; offline devices are skipped."""
        params = {"grace": "10m", "emergency_credit": "0.50"}
        scene = Scene(start=THURSDAY_NOON, credit="0.05", params=params)
        scene.now += MINUTE
        scene.sample(300)
        scene.wait(HOUR)
        scene.sample(1)
        assert scene.tenant.balance_nano < 0
        assert scene.breaker.locks == {}
        assert scene.tenant.state == "EMERGENCY"
        scene.now += 15 * MINUTE
        scene.sample(300)
        scene.wait(11 * MINUTE)
        scene.sample(1)
        assert list(scene.breaker.locks) == ["credit"]

    def test_f_nobody_is_cut_in_the_friendly_window_and_it_is_said_why(self) -> None:
        scene = Scene(start=THURSDAY_NOON + 8 * HOUR, credit="0.05", params={"grace": "10m"})
        scene.now += MINUTE
        scene.sample(300)
        for _ in range(4):
            scene.wait(15 * MINUTE)
            scene.sample(1)
        assert scene.breaker.locks == {}
        assert any(one.held for one in scene.caused(SupplyStateChanged))

    def test_f_an_offline_device_is_not_skipped_but_cut_when_it_returns(self) -> None:
        scene = Scene(start=THURSDAY_NOON, credit="0.05", params={"grace": "10m"})
        scene.now += MINUTE
        scene.sample(300)
        scene.play(ConnectionChanged("em-001", "offline", "s1", scene.now))
        scene.wait(2 * HOUR)
        assert scene.breaker.locks == {}, "nobody is cut on a reading that is two hours old"
        scene.play(Birth("em-001", "s2", scene.now, "closed"))
        for _ in range(3):
            scene.now += 5 * MINUTE
            scene.sample(1, sid="s2")
        assert list(scene.breaker.locks) == ["credit"]
        assert [one.target for one in scene.caused(CommandChanged)][:1] == ["open"]

    def test_g_a_shared_wallet_switches_every_meter_on_it(self) -> None:
        """Known defect: only accounts with one meter switch by themselves."""
        group = shared_wallet()
        group = play(group, CreditsPosted(2, 100_000_000, 100_000_000, THURSDAY_NOON), THURSDAY_NOON)
        for minute in range(1, 14):
            for meter in ("em-001", "em-002"):
                now = THURSDAY_NOON + minute * MINUTE
                sample = Telemetry(
                    meter, "s1", minute, now, {"import_wh": 200 * minute, "power_w": 5}, False, "good", now
                )
                group = play(group, sample, now)
        assert group.tenant is not None
        assert group.tenant.charges_nano == 2 * 13 * 200 * 1_000_000
        assert {name: list(breaker.locks) for name, breaker in group.breakers.items()} == {
            "em-001": ["credit"],
            "em-002": ["credit"],
        }

    def test_h_water_is_charged_by_the_same_code(self) -> None:
        water = compile_tariff({**flat("4.10"), "utility": "water"}, SHANGHAI)
        scene = Scene(kind="water", policy=policy_with(water=water), tariff="water", modulus=10**8)
        scene.now += 15 * MINUTE
        scene.seq += 1
        scene.play(Telemetry("em-001", "s1", scene.seq, scene.now, {"volume_l": 1_250}, False, "good", scene.now))
        assert scene.tenant.charges_nano == 250 * 4_100_000

    def test_i_a_low_balance_is_told_to_the_tenant_and_shown_as_an_alarm(self) -> None:
        """Known defect: the warning level is a column that nothing reads."""
        scene = Scene(start=THURSDAY_NOON, credit="50.10")
        scene.now += MINUTE
        scene.sample(200)
        wanted = scene.caused(NotificationWanted)
        assert [(one.tenant, one.template) for one in wanted] == [("t-001", "low_balance")]
        assert [(one.rule, one.severity, one.active) for one in scene.caused(AlarmChanged)] == [
            ("low-balance", "warning", True)
        ]

    def test_k_shares_demand_and_bills_exist(self) -> None:
        """Shares: test_apportionment. Demand: test_demand. Bills: test_bill, tests of documents and settlement."""
        members = tuple(Member(name, households=1) for name in "abc")
        shares = apportion([Shared("lift", 1_000, (Basis("household"),), members, price_micro=550_000)])
        assert sorted(share.quantity for share in shares) == [333, 333, 334]
        assert sum(share.amount_nano for share in shares) == 550_000_000
        quarter = 15 * MINUTE
        samples = [(0, 0), (quarter, 500), (2 * quarter, 2_500)]
        peak = peak_demand(samples, window_ms=quarter, slip_ms=quarter, grid_ms=0, from_ts=0, to_ts=2 * quarter)
        assert peak is not None
        assert peak.power_w == 8_000
        assert "amount_nano" in Line.__struct_fields__

    def test_l_prices_need_no_tables_in_the_meter_and_have_no_limit_of_fourteen_slots(self) -> None:
        slots = {
            f"{half // 2:02d}:{half % 2 * 30:02d}-{(half + 1) // 2:02d}:{(half + 1) % 2 * 30:02d}": f"p{half}"
            for half in range(48)
        }
        version = {
            "from": "2026-01-01T00:00:00",
            "mode": "tou",
            "periods": {f"p{half}": f"1.{half:02d}" for half in range(48)},
            "calendar": [{"months": "all", "days": "all", "slots": slots}],
        }
        tariff = compile_tariff({"tariff": "t", "utility": "electricity", "versions": [version]}, SHANGHAI)
        day = at("2026-03-03T00:00")
        charged = list(rate_series(tariff, [(day + half * 30 * MINUTE, half * 10) for half in range(49)]))
        assert [(one.period, one.quantity, one.estimated) for one in charged] == [
            (f"p{half}", 10, False) for half in range(48)
        ]

    def test_l_a_mistake_in_the_tiers_is_refused_and_never_charged_at_some_other_price(self) -> None:
        document = shop_tou()
        document["versions"][0]["tiers"] = [{"upto": "400", "add": "0"}, {"upto": "240", "add": "0.05"}, {"add": "0.3"}]
        with pytest.raises(TariffError, match=r"tiers\[1\]\.upto"):
            compile_tariff(document, SHANGHAI)


class TestSecondList:
    def test_a_a_corrected_tariff_is_charged_again_and_a_second_time_changes_nothing(self) -> None:
        """Known defect: a watermark of time never goes back."""
        points = [Point(NOON, 0), Point(NOON + HOUR, 1_000)]
        wrong, right = (
            Occupancy([Tenancy(payer("a", "t"))], {"t": compile_tariff(flat(price), SHANGHAI)}, payer("", ""), SHANGHAI)
            for price in ("8.523", "0.8523")
        )
        charged = posted(rate_history([Epoch(1, points)], wrong).charges)
        owed = rate_history([Epoch(1, points)], right).charges
        found = differences(charged, owed)
        assert [(one.old_amount_nano, one.new_amount_nano) for one in found] == [(8_523_000_000, 852_300_000)]
        assert differences(applied(charged, found, 1), owed) == []

    def test_b_an_hour_without_a_price_is_refused_when_the_file_is_read(self) -> None:
        """Known defect: what falls into such an hour is silently absent."""
        document = shop_tou()
        del document["versions"][0]["calendar"][1]["slots"]["08:00-24:00"]
        with pytest.raises(TariffError, match="08:00 to 24:00 is covered by no slot"):
            compile_tariff(document, SHANGHAI)
        with pytest.raises(TariffError, match="before the first version"):
            rate(SHOP, at("2025-12-31T23:00"), at("2025-12-31T23:30"), 0, 5, 202512, 0)

    def test_c_what_was_used_while_offline_is_not_put_into_the_first_slot_after_it(self) -> None:
        """Known defect: zeros are stored for the gap, and all of it lands where the meter came back."""
        gap = [(at("2026-07-01T06:00"), 0), (at("2026-07-01T14:00"), 8_000)]
        assert whole(gap) == [("valley", 0, 2_000), ("flat", 0, 4_000), ("peak", 0, 2_000)]

    def test_c_a_great_rise_is_charged_or_kept_for_review_and_never_set_to_zero(self) -> None:
        scene = Scene()
        scene.now += 24 * HOUR
        scene.sample(200_000)
        assert scene.tenant.charges_nano == 200_000 * 1_000_000
        scene.now += MINUTE
        scene.sample(200_000)
        assert [one.reason for one in scene.caused(ReadingQuarantined)] == ["implausible_rise"]

    def test_c_a_rollover_adds_what_it_is_worth(self) -> None:
        """Known defect: 999 984 to 20 adds nothing instead of 36."""
        scene = Scene(opening=999_984, modulus=1_000_000)
        scene.now += 15 * MINUTE
        scene.sample(0, raw=20)
        assert scene.tenant.charges_nano == 36 * 1_000_000

    def test_c_the_first_use_of_a_new_meter_is_charged(self) -> None:
        scene = Scene(opening=0)
        scene.now += 15 * MINUTE
        scene.sample(7)
        assert scene.tenant.charges_nano == 7 * 1_000_000

    def test_d_a_day_of_23_or_25_hours_has_its_slots_where_the_clock_shows_them(self) -> None:
        """Known defect: a fixed offset from UTC."""
        version = {
            "from": "2026-01-01T00:00:00",
            "mode": "tou",
            "periods": {"day": "1", "night": "0.5"},
            "calendar": [{"months": "all", "days": "all", "slots": {"00:00-06:00": "night", "06:00-24:00": "day"}}],
        }
        tariff = compile_tariff({"tariff": "t", "utility": "electricity", "versions": [version]}, "Europe/Berlin")
        for midnight, night_hours in (("2026-03-29T00:00+01:00", 5), ("2026-10-25T00:00+02:00", 7)):
            start = at(midnight)
            hours = 18 + night_hours
            charged = list(rate_series(tariff, [(start, 0), (start + hours * HOUR, hours * 100)]))
            assert [(one.period, one.quantity) for one in charged] == [("night", night_hours * 100), ("day", 1_800)]

    def test_e_a_slot_that_begins_at_half_past_begins_at_half_past(self) -> None:
        document = shop_tou()
        document["versions"][0]["calendar"] = [
            {"months": "all", "days": "all", "slots": {"00:00-08:30": "valley", "08:30-24:00": "peak"}}
        ]
        tariff = compile_tariff(document, SHANGHAI)
        half_past = at("2026-07-01T08:30")
        edges = [(half_past - 30 * MINUTE, 0), (half_past, 100), (half_past + 30 * MINUTE, 200)]
        assert whole(edges, tariff) == [("valley", 0, 100), ("peak", 0, 100)]


class TestThirdList:
    def test_a_late_hour_is_put_where_it_belongs(self) -> None:
        """Validation: tests/unit/twin/test_continuity.py. Late data end to end: tests/integration/test_any_order.py."""
        who = Occupancy([Tenancy(payer("a", "s"))], {"s": SHOP}, payer("", ""), SHANGHAI)
        ends = [Point(NOON - HOUR, 0), Point(NOON + HOUR, 1_000)]
        charged = posted(rate_history([Epoch(1, ends)], who).charges)
        owed = rate_history([Epoch(1, [ends[0], Point(NOON, 900), ends[1]])], who).charges
        assert [(one.from_qty, one.to_qty, one.new.period) for one in differences(charged, owed)] == [
            (500, 900, "flat")
        ]

    def test_public_holidays_have_their_own_slots(self) -> None:
        document = shop_tou()
        document["versions"][0]["calendar"].insert(
            0, {"months": "all", "days": "holiday:CN", "slots": {"00:00-24:00": "valley"}}
        )
        tariff = compile_tariff(document, SHANGHAI)
        national_day, workday = at("2026-10-01T10:00"), at("2026-10-12T10:00")
        assert tariff.segment_at(national_day).period == "valley"
        assert tariff.segment_at(workday).period == "flat"

    def test_time_of_use_is_what_a_live_reading_is_charged_by(self) -> None:
        scene = Scene(tariff="tou", start=MIDNIGHT + 7 * HOUR)
        scene.now += HOUR
        scene.sample(100)
        scene.now += HOUR
        scene.sample(100)
        assert scene.tenant.charges_nano == 150_000_000
        assert {one.period for one in scene.caused(ChargePosted)} == {"night", "day"}


def policy_with(**tariffs):
    """The policy of the scene with further tariffs."""
    policy = make_policy()
    policy.tariffs = {**policy.tariffs, **tariffs}
    return policy


def shared_wallet() -> Group:
    """A tenant with two meters that both can switch."""
    meters = tuple(MeterContract(name, tariff="flat", breaker=name, max_rate=0) for name in ("em-001", "em-002"))
    breakers = tuple(BreakerContract(name, meters=(name,)) for name in ("em-001", "em-002"))
    contract = Contract("t-001", account="t-001", params={"grace": "10m"})
    openings = dict.fromkeys(("em-001", "em-002"), 0)
    act = ContractsChanged(1, THURSDAY_NOON, contract, meters, breakers, None, openings)
    group = play(Group("park-1", "t-001"), act, THURSDAY_NOON)
    for name in openings:
        group = play(group, Birth(name, "s1", THURSDAY_NOON, "closed"), THURSDAY_NOON)
    return group


def play(group: Group, message, now: int) -> Group:
    return decide(group, message, now, make_policy(rulesets=[contract_ruleset()])).group


def test_nothing_here_leans_on_a_default_that_changed() -> None:
    assert msgspec.structs.asdict(SHOP.versions[0])["free_quantity"] == 0
