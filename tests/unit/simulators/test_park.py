"""The example park: what is committed is what the script writes, fits together, and has something to show."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from schemas.documents import load_checked
from simulators.devices.electricity_meter import ElectricityMeter
from simulators.devices.water_meter import WaterMeter
from simulators.fleet import Fleet
from simulators.parks.generate import FATES, FOLDER, SEED, START, ZONE, make_merchants, write_park
from simulators.parks.prices import price_at, spend_by_quarter
from simulators.parks.yaml_text import block
from simulators.scenario import load_scenario


def test_the_committed_park_is_what_the_script_writes(tmp_path: Path) -> None:
    write_park(tmp_path)
    for name in ("fleet.yaml", "site.yaml"):
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text(), "run python -m simulators.parks.generate"


def test_every_file_of_the_park_satisfies_its_schema() -> None:
    for path in sorted((FOLDER / "tariffs").glob("*.yaml")):
        assert load_checked(path, "tariff").data["tariff"] == path.stem
    load_checked(FOLDER / "rules" / "prepaid.yaml", "ruleset")
    load_checked(FOLDER / "site.yaml", "site")


def test_site_and_fleet_agree() -> None:
    site = load_checked(FOLDER / "site.yaml", "site").data
    fleet = Fleet(load_scenario(FOLDER / "fleet.yaml"))
    assert len(site["tenants"]) == 220
    assert len({tenant["name"]["zh"] for tenant in site["tenants"]}) == 220
    kinds = [device["kind"] for device in site["devices"]]
    assert [kinds.count(kind) for kind in ("electricity_meter", "water_meter", "breaker")] == [220, 60, 12]
    known = {device["id"] for device in site["devices"]} | {gateway["id"] for gateway in site["gateways"]}
    assert known == set(fleet.devices)
    for device in site["devices"]:
        simulated = fleet.devices[device["id"]]
        assert (simulated.kind, simulated.gateway) == (device["kind"], device["gateway"])
        if isinstance(simulated, ElectricityMeter):
            assert device["opening_wh"] == simulated.register.opening
            assert device["register_digits_wh"] == simulated.register.modulus
            assert device["relay"] == (simulated.contactor is not None)
        if isinstance(simulated, WaterMeter):
            assert device["opening_l"] == simulated.register.opening
    used = {supply["tariff"] for tenant in site["tenants"] for supply in tenant["supplies"]}
    assert used == {Path(path).stem for path in site["tariffs"]}
    tenants = {tenant["id"] for tenant in site["tenants"]}
    assert {recharge.tenant for recharge in fleet.scenario.recharges} <= tenants


def test_credits_lead_to_the_fates_within_two_hours() -> None:
    site = load_checked(FOLDER / "site.yaml", "site").data
    tariffs = {path.stem: load_checked(path, "tariff").data for path in (FOLDER / "tariffs").glob("*.yaml")}
    fleet = Fleet(load_scenario(FOLDER / "fleet.yaml"))
    start = datetime.fromisoformat(START).replace(tzinfo=ZoneInfo(ZONE))
    outcome = {"dry": 0, "low": 0, "calm": 0}
    for tenant in site["tenants"]:
        spend = Decimal(0)
        for supply in tenant["supplies"]:
            meter = fleet.devices[supply["meter"]]
            assert isinstance(meter, ElectricityMeter | WaterMeter)
            spend += spend_by_quarter(meter.load, tariffs[supply["tariff"]], start, 2)[-1]
        left = Decimal(tenant["opening_credit"]) - spend
        outcome["dry" if left <= 0 else "low" if left < 50 else "calm"] += 1
    fates = dict(FATES)
    # Events with extra load may pull a few more below; the credits themselves must do at least this.
    assert outcome["dry"] >= fates["cutoff"]
    assert outcome["low"] >= fates["low"] - 2
    assert outcome["calm"] >= 100


def test_prices_follow_period_version_and_lowest_tier() -> None:
    tariffs = {path.stem: load_checked(path, "tariff").data for path in (FOLDER / "tariffs").glob("*.yaml")}
    zone = ZoneInfo(ZONE)
    cases = {
        ("shop-flat", datetime(2025, 12, 31, 23, 59, tzinfo=zone)): "0.8538",
        ("shop-flat", datetime(2026, 1, 1, tzinfo=zone)): "0.8793",
        ("shop-tou", datetime(2026, 1, 12, 9, 59, tzinfo=zone)): "0.8282",
        ("shop-tou", datetime(2026, 1, 12, 10, 0, tzinfo=zone)): "1.2304",
        ("shop-tou", datetime(2026, 7, 12, 11, 0, tzinfo=zone)): "1.4711",
        ("shop-tiers", datetime(2026, 1, 12, 10, 0, tzinfo=zone)): "0.6453",
        ("office-tou-tiers", datetime(2026, 1, 12, 10, 0, tzinfo=zone)): "1.1304",
        ("office-tou-tiers", datetime(2026, 1, 17, 10, 0, tzinfo=zone)): "0.7982",
        ("water-tiers", datetime(2026, 1, 12, 10, 0, tzinfo=zone)): "7.2000",
    }
    found = {key: str(price_at(tariffs[key[0]], key[1])) for key in cases}
    assert found == cases


def test_merchants_are_drawn_by_seed() -> None:
    assert make_merchants(SEED) == make_merchants(SEED)
    assert make_merchants(SEED) != make_merchants(SEED + 1)


@pytest.mark.parametrize(
    "text", ["plain", "yes", "on", "12", "1.5", "a: b", "# no", "", "Li's", "示范", "2026-01-01", "~"]
)
def test_yaml_text_reads_back_equal(text: str) -> None:
    from ruamel.yaml import YAML

    document = {"key": text, "list": [{"a": text, "b": [1, text]}], "flag": True}
    assert YAML(typ="safe").load(block(document)) == document
