"""Bad tariff, rule, site and fleet files: each is refused with its line, its path and what would be right."""

from pathlib import Path
from typing import Any

import pytest

from schemas import registry
from tests.unit.schemas.refusals import errors_of

GOLDEN = Path(__file__).parents[2] / "golden" / "contract"

# Each row: which contract file, what is replaced by what in it, and where the error must point.
BAD_FILES = [
    ("tariff", 'peak: "1.2034"', "peak: 1.2034", "7:19: versions[0].periods.peak: 1.2034 is a floating-point number"),
    ("tariff", 'peak: "1.2034"', "peak: 1", "7:19: versions[0].periods.peak: the number 1 is not a price"),
    (
        "tariff",
        'peak: "1.2034"',
        'peak: "1,2034"',
        '7:19: versions[0].periods.peak: "1,2034" is not a price as a quoted decimal with at most 6 decimals',
    ),
    ("tariff", 'peak: "1.2034"', 'peak: "1.2034567"', "at most 6 decimals"),
    (
        "tariff",
        'peak: "1.2034"',
        'Peak: "1.2034"',
        '7:13: versions[0].periods.Peak: the field name "Peak" is not a period name',
    ),
    ("tariff", "utility: electricity", "utility: gas", '3:10: utility: "gas" is not one of "electricity", "water"'),
    (
        "tariff",
        "utility: electricity",
        "utlity: electricity",
        "3:1: utlity: there is no field 'utlity'; did you mean 'utility'?",
    ),
    ("tariff", "utility: electricity", "", "document: the field 'utility' is missing"),
    ("tariff", "mode: tou+tiers", "mode: tiered", '6:9: versions[0].mode: "tiered" is not one of'),
    ("tariff", "mode: tou+tiers", "mode: flat", "5:3: versions[0]: the field 'price' is missing"),
    (
        "tariff",
        '"2026-01-01T00:00:00"',
        '"2026-01-01 00:00"',
        '5:9: versions[0].from: "2026-01-01 00:00" is not a local instant',
    ),
    (
        "tariff",
        "[7, 8, 9]",
        "[7, 8, 13]",
        "9:21: versions[0].calendar[0].months[2]: the number 13 is too large; it must be between 1 and 12",
    ),
    (
        "tariff",
        "days: weekday",
        "days: weekdays",
        '9:31: versions[0].calendar[0].days: "weekdays" is not all, weekday, weekend, holiday:CN',
    ),
    (
        "tariff",
        '"00:00-08:00": valley, "08:00-12:00"',
        '"00:00-08:00": valley, "8:00-12:00"',
        'versions[0].calendar[0].slots["8:00-12:00"]: the field name "8:00-12:00" is not a span of the local day',
    ),
    (
        "tariff",
        '{upto: "240", add: "0"}',
        '{upto: "240"}',
        "12:5: versions[0].tiers[0]: needs exactly one of the fields 'price', 'add', has none of them",
    ),
    ("tariff", '{upto: "240", add: "0"}', '{upto: "240", add: "0", price: "1"}', "has 'price', 'add'"),
    ("tariff", "window: 15m", "window: 15min", 'versions[0].demand.window: "15min" is not a duration'),
    ("ruleset", "version: 7", 'version: "7"', '3:10: version: "7" is not an integer; write it without quotes'),
    ("ruleset", 'default: "50.00"', "default: 50.00", "5:32: params.low1.default: 50.00 is a floating-point number"),
    (
        "ruleset",
        'default: "50.00"',
        "default: 50",
        "5:32: params.low1.default: the number 50 is not an amount of money",
    ),
    ("ruleset", "default: 24h", "default: 1 day", 'params.grace.default: "1 day" is not a duration'),
    ("ruleset", "default: 6000", 'default: "6000"', 'params.limit_w.default: "6000" is not an integer'),
    (
        "ruleset",
        '"16:00-24:00"',
        '"16:00-25:00"',
        'calendars.friendly[0].times[0]: "16:00-25:00" is not a half-open span',
    ),
    (
        "ruleset",
        "dates: holidays/CN",
        "dates: [2026-02-10:2026-02-20, 17 February]",
        'calendars.friendly[2].dates[1]: "17 February" is not a date, a range of dates or the public holidays',
    ),
    ("ruleset", "monday:thursday", "mon-thu", 'calendars.friendly[0].weekdays[0]: "mon-thu" is not a weekday'),
    (
        "ruleset",
        "on_unknown: hold",
        "on_unknown: wait",
        'rules[2].on_unknown: "wait" is not one of "hold", "reset", "fire"',
    ),
    ("ruleset", "for: p.grace ", "for: 24 hours ", 'rules[2].for: "24 hours" is not a duration, or a parameter'),
    (
        "ruleset",
        "breaker.lock: {lock: credit,",
        "breaker.toggle: {lock: credit,",
        "rules[2].then[0][\"breaker.toggle\"]: there is no field 'breaker.toggle'; did you mean 'breaker.lock'?",
    ),
    (
        "ruleset",
        "active: {not_in: friendly}",
        "active: {in: a, not_in: friendly}",
        "rules[2].active: has 2 fields, at most 1 is allowed",
    ),
    (
        "ruleset",
        "{rule: meter-offline, equal: [meter.id]}",
        "{equal: [meter.id]}",
        "rules[2].inhibited_by[1]: needs exactly one of the fields 'flag', 'rule'",
    ),
    (
        "ruleset",
        "  when: reading.power_w > p.limit_w\n",
        "",
        "rules[3]: needs exactly one of the fields 'when', 'levels', has none of them",
    ),
    ("ruleset", "state: fired", "state: firing", 'tests[0].expect[1].state: "firing" is not one of'),
    ("site", "timezone: Asia/Shanghai", "timezone: UTC+8:00", '4:11: timezone: "UTC+8:00" is not an IANA time zone'),
    (
        "site",
        "kind: breaker",
        "kind: braker",
        '13:22: devices[2].kind: "braker" is not one of "electricity_meter", "water_meter", "breaker"; did you mean',
    ),
    ("site", "id: wm-001", "id: wm 001", '12:8: devices[1].id: "wm 001" is not an id'),
    (
        "site",
        "opening_wh: 120000",
        'opening_wh: "120000"',
        'devices[0].opening_wh: "120000" is not an integer; write it without quotes',
    ),
    (
        "site",
        "opening_wh: 120000",
        "opening_wh: 120000.0",
        "devices[0].opening_wh: 120000.0 is a floating-point number",
    ),
    ("site", "valve: true, ", "opening_wh: 5, ", "devices[1].opening_wh: the field 'opening_wh' does not belong here"),
    (
        "site",
        'opening_credit: "100.00"',
        "opening_credit: 100",
        "18:19: tenants[0].opening_credit: the number 100 is not an amount of money as a quoted decimal",
    ),
    (
        "site",
        'emergency_credit: "0"',
        'emergency_credit: "-5"',
        'tenants[0].emergency_credit: "-5" is not an amount of money, not negative',
    ),
    (
        "site",
        "mode: prepaid ",
        "mode: prepay ",
        'tenants[0].mode: "prepay" is not one of "prepaid", "postpaid"; did you mean \'prepaid\'?',
    ),
    (
        "site",
        "{meter: wm-001, tariff: water}",
        "{meter: wm-001}",
        "tenants[0].supplies[1]: the field 'tariff' is missing",
    ),
    (
        "site",
        "interval: 15m",
        "interval: 15",
        '6:11: interval: the number 15 is not a duration: an integer and a unit; write it as a quoted string: "15"',
    ),
    ("site", "[rules/prepaid.yaml]", "[{ruleset: x}]", "rulesets[0]: the field 'apiVersion' is missing"),
]


@pytest.mark.parametrize(("name", "old", "new", "expected"), BAD_FILES)
def test_bad_files_are_refused_at_their_place(name: str, old: str, new: str, expected: str) -> None:
    text = (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.count(old) >= 1
    assert expected in errors_of(text.replace(old, new, 1), name)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seed": 1.5}, "seed: the number 1.5 is not an integer"),
        ({"groups": []}, "groups: has 0 entries, at least 1 is needed"),
        ({"faults": [{"fault": "spike", "devices": ["a"]}]}, "faults[0]: the field 'add' is missing"),
        ({"faults": [{"fault": "drop", "probability": "0.1"}]}, "faults[0]: needs at least one of the fields"),
        ({"faults": [{"fault": "drop", "share": "2", "probability": "1"}]}, 'faults[0].share: "2" is not a share'),
        (
            {"faults": [{"fault": "reset", "share": "1", "from": "1m", "skew": "1h"}]},
            "faults[0].skew: the field 'skew' does not belong here",
        ),
        ({"events": [{"event": "load_step", "group": "a", "at": "1m"}]}, "events[0]: the field 'add_w' is missing"),
        ({"people": [{"tenant": "t", "recharge": {"when_below": "5"}}]}, "people[0].recharge: the field 'amount'"),
    ],
)
def test_bad_fleets_are_refused_at_their_place(change: dict[str, Any], expected: str) -> None:
    fleet = {**registry.schema("fleet")["examples"][0], **change}
    assert expected in "\n".join(str(problem) for problem in registry.problems("fleet", fleet))


def test_all_problems_are_told_in_the_order_of_the_file_but_not_without_end() -> None:
    text = (GOLDEN / "site.yaml").read_text(encoding="utf-8")
    text = (
        text.replace("currency: CNY", "currency: yuan").replace("kind: breaker", "kind: b").replace("park-1", "park 1")
    )
    lines = errors_of(text, "site").split("\n")
    assert [line.split(":")[1] for line in lines] == ["2", "5", "13"]
    many = {"apiVersion": "twinmeter.site/v1", "devices": [{"id": "a"}] * 300}
    assert len(registry.problems("site", many)) == registry.PROBLEMS_MAX
