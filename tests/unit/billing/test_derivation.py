"""Derivations: every charge of a generated life leads back to its readings, and is told in both languages."""

from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings

from billing.derivation import Node, derive, derive_difference
from billing.derivation_text import render
from billing.history import Epoch, Occupancy, Payer, Tenancy, rate_history
from billing.points import Point
from billing.rerating import Assignment
from billing.tariff import compile_tariff
from tests.unit.billing.contract import SHANGHAI, at, shop_tou
from tests.unit.billing.life_oracle import Life
from tests.unit.billing.lives import epochs, occupancy, posted, rated
from tests.unit.billing.strategies import lives
from tests.unit.billing.test_history import compiled

ZONE = ZoneInfo(SHANGHAI)


def find(node: Node, kind: str) -> list[Node]:
    return [*([node] if node.kind == kind else []), *(found for child in node.children for found in find(child, kind))]


def shop(day: str) -> tuple[list[Epoch], Occupancy, Assignment]:
    """Two readings around noon of a July day, 239 of the month's first 240 kWh used before; the peak part."""
    points = [
        Point(at("2026-07-01T00:00"), 1_000_000),
        Point(at(f"{day}T11:50"), 1_239_000),
        Point(at(f"{day}T12:10"), 1_243_000),
    ]
    tariffs = {"shop-tou": compile_tariff(shop_tou(), SHANGHAI)}
    payer = Payer("anna", "tenant:anna:wallet", "shop-tou")
    where = Occupancy([Tenancy(payer)], tariffs, Payer("", "landlord:vacancy", ""), SHANGHAI)
    life = [Epoch(1, points)]
    return life, where, posted(rate_history(life, where).charges)[-1]


def test_a_charge_is_told_from_its_two_readings_to_the_nano_unit():
    life, where, part = shop("2026-07-01")
    version = where.tariffs[0].versions[0]
    tree = derive(part, "electricity", life, where, version)
    told = render(tree, "en", ZONE)
    assert told == (
        "charge 2.536800000 = 2.000 kWh x 1.268400\n"
        "├─ quantity: register 1241.000 to 1243.000 kWh, epoch 1\n"
        "│  └─ reading 1239.000 at 2026-07-01 11:50:00, 1243.000 at 2026-07-01 12:10:00: 4.000 kWh, of which 2.000 are"
        " this charge's\n"
        "│     ├─ · 2026-07-01 11:50:00 - 2026-07-01 11:55:00 anna flat tier 1 by time: 1.000 kWh\n"
        "│     ├─ · 2026-07-01 11:55:00 - 2026-07-01 12:00:00 anna flat tier 2 by time: 1.000 kWh\n"
        "│     └─ ▶ 2026-07-01 12:00:00 - 2026-07-01 12:10:00 anna peak tier 2 by time: 2.000 kWh\n"
        "├─ price 1.268400: tariff shop-tou, version valid from 2026-01-01T00:00:00\n"
        "│  ├─ base price peak 1.203400\n"
        "│  ├─ tier 2 (240.000 - 400.000 kWh, 241.000 used before in the month) adds 0.050000\n"
        "│  └─ surcharge fund 0.015000\n"
        "└─ computed again from the readings: the same"
    )
    chinese = render(tree, "zh", ZONE)
    assert "费用 2.536800000 = 用量 2.000 kWh × 单价 1.268400" in chinese
    assert "第 2 阶梯（240.000 - 400.000 kWh，本月已用 241.000）加价 0.050000" in chinese
    assert chinese.endswith("由读数重算：一致")


def test_a_charge_that_the_readings_do_not_lead_to_says_so():
    life, where, part = shop("2026-07-01")
    moved = [Epoch(1, [*life[0].points[:-1], Point(at("2026-07-01T12:00"), 1_243_000)])]
    tree = derive(part, "electricity", moved, where, where.tariffs[0].versions[0])
    assert find(tree, "proof")[0].facts == {"agrees": False, "agreed": 0}
    assert "NOT the same" in render(tree, "en", ZONE)


def test_an_adjustment_shows_what_was_and_what_is():
    life, where, part = shop("2026-07-01")
    tree = derive(part, "electricity", life, where, where.tariffs[0].versions[0])
    dearer = Node("charge", tree.facts | {"amount_nano": 3_000_000_000}, tree.children)
    told = derive_difference(tree, dearer, "a reading came late")
    assert render(told, "en", ZONE).startswith(
        "adjustment 0.463200000 = 3.000000000 owed - 2.536800000 charged (a reading came late)"
    )
    assert "（读数补传）" in render(told, "zh", ZONE)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(lives())
def test_every_charge_of_a_life_agrees_with_its_readings_and_its_price_with_its_parts(life: Life):
    tariffs = compiled(life)
    if tariffs is None:
        return
    samples, where = epochs(life), occupancy(life, tariffs)
    for part in posted(rated(life, tariffs).charges)[:4]:
        tariff = tariffs[part.facts.tariff]
        version = next(one for one in tariff.versions if one.start_ms == part.facts.version)
        tree = derive(part, "electricity", samples, where, version)
        assert find(tree, "proof")[0].facts["agrees"]
        assert sum(int(node.facts["taken"] or 0) for node in find(tree, "reading")) == part.to_qty - part.from_qty
        price = find(tree, "price")[0]
        if part.facts.tier != -1:
            assert sum(int(child.facts["price_micro"] or 0) for child in price.children) == part.facts.price_micro
        for lang in ("zh", "en"):
            assert "{" not in render(tree, lang, ZoneInfo(life.zone))
