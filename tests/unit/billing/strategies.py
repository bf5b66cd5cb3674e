"""Generated tariffs and register series that dwell on the hard places: jumps of the clock, month ends, slot edges."""

from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import strategies as st

from tests.unit.billing.life_oracle import Life, Tenancy

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


# (zone, an instant in UTC around which something happens)
PLACES = [
    ("Asia/Shanghai", instant("2026-01-31T16:00")),  # month end
    ("Asia/Shanghai", instant("2026-02-15T16:00")),  # Spring Festival begins
    ("Asia/Shanghai", instant("2025-12-31T16:00")),  # year end
    ("Europe/Berlin", instant("2026-03-29T01:00")),  # 02:00 -> 03:00
    ("Europe/Berlin", instant("2026-10-25T01:00")),  # 03:00 -> 02:00
    ("America/Sao_Paulo", instant("2018-11-04T03:00")),  # 00:00 -> 01:00: midnight does not exist
    ("America/Sao_Paulo", instant("2018-02-18T02:00")),  # 00:00 -> 23:00: an hour of the day before comes again
    ("Australia/Lord_Howe", instant("2026-04-04T15:00")),  # 02:00 -> 01:30
    ("Australia/Lord_Howe", instant("2026-10-03T15:30")),  # 02:00 -> 02:30
    ("America/St_Johns", instant("2009-11-01T02:30")),  # 00:01 on the first of November -> 23:01 in October
    ("Pacific/Apia", instant("2011-12-30T10:00")),  # 30 December does not exist
    ("Asia/Kathmandu", instant("2026-06-30T18:15")),  # offset of 5:45
]
DAY_EDGES = ["00:00", "00:30", "01:45", "02:00", "02:20", "03:00", "08:00", "12:00", "22:00", "23:00", "24:00"]
PERIODS = ["peak", "flat", "valley"]


def decimals(places: int, most: int = 3) -> st.SearchStrategy[str]:
    return st.builds(
        lambda whole, part: f"{whole}.{part:0{places}d}", st.integers(0, most), st.integers(0, 10**places - 1)
    )


@st.composite
def slots(draw: st.DrawFn) -> dict[str, str]:
    inner = draw(st.lists(st.sampled_from(DAY_EDGES[1:-1]), max_size=4, unique=True))
    edges = ["00:00", *sorted(inner), "24:00"]
    return {f"{a}-{b}": draw(st.sampled_from(PERIODS)) for a, b in pairwise(edges)}


@st.composite
def calendars(draw: st.DrawFn) -> list[dict]:
    days = st.sampled_from(["all", "weekday", "weekend", "holiday:CN", ["monday", "sunday"], ["saturday", "wednesday"]])
    months = st.one_of(st.just("all"), st.lists(st.integers(1, 12), min_size=1, max_size=6, unique=True))
    special = draw(st.lists(st.fixed_dictionaries({"months": months, "days": days, "slots": slots()}), max_size=2))
    return [*special, {"months": "all", "days": "all", "slots": draw(slots())}]


@st.composite
def tier_lists(draw: st.DrawFn, kinds: list[str]) -> list[dict]:
    ends = sorted(draw(st.lists(st.integers(1, 400), max_size=3, unique=True)))
    tiers = [{draw(st.sampled_from(kinds)): draw(decimals(4))} for _ in range(len(ends) + 1)]
    for tier, end in zip(tiers, ends, strict=False):
        tier["upto"] = f"{end / 1000:.3f}"
    return tiers


@st.composite
def versions(draw: st.DrawFn, start: str, modes: list[str]) -> dict:
    mode = draw(st.sampled_from(modes))
    version: dict = {"from": start, "mode": mode}
    if mode == "flat":
        version["price"] = draw(decimals(6))
    if "tou" in mode:
        version["periods"] = {name: draw(decimals(4)) for name in PERIODS}
        version["calendar"] = draw(calendars())
    if "tiers" in mode:
        version["tiers"] = draw(tier_lists(["price"] if mode == "tiers" else ["add", "price"]))
        version["tier_period"] = draw(st.sampled_from(["month", "year"]))
    version["surcharges"] = [
        {"name": f"s{index}", "per_unit": price} for index, price in enumerate(draw(st.lists(decimals(4), max_size=2)))
    ]
    return version


ALL_MODES = ["flat", "tou", "tiers", "tou+tiers"]


@st.composite
def tariffs(draw: st.DrawFn, around_ms: int, modes: list[str] = ALL_MODES, changes: int = 2) -> dict:
    """A tariff valid since long before `around_ms`, with price changes near it."""
    starts = ["2000-01-01T00:00:00"]
    minutes = draw(st.lists(st.integers(-16 * 60, 16 * 60), max_size=changes, unique=True))
    for minute in sorted(minutes):
        near = datetime.fromtimestamp((around_ms + minute * MINUTE_MS) / 1000, UTC)
        starts.append(near.replace(tzinfo=None).isoformat())
    return {
        "apiVersion": "twinmeter.tariff/v1",
        "tariff": "generated",
        "utility": "electricity",
        "versions": [draw(versions(start, modes)) for start in starts],
    }


@st.composite
def series(draw: st.DrawFn, around_ms: int, reach_h: int = 20, most: int = 300) -> list[tuple[int, int]]:
    """Samples around an instant, some of them exactly on whole half hours, so that boundaries meet samples."""
    on_edges = st.integers(-2 * reach_h, 2 * reach_h).map(lambda half: half * 30 * MINUTE_MS)
    anywhere = st.integers(-reach_h * HOUR_MS, reach_h * HOUR_MS)
    offsets = sorted(draw(st.lists(st.one_of(on_edges, anywhere), min_size=2, max_size=7, unique=True)))
    register = draw(st.integers(0, 10**6))
    samples = []
    for offset in offsets:
        samples.append((around_ms + offset, register))
        register += draw(st.integers(0, most))
    return samples


@st.composite
def cases(draw: st.DrawFn, modes: list[str] = ALL_MODES) -> tuple[str, dict, list[tuple[int, int]]]:
    """(zone, tariff document, samples)."""
    zone, around_ms = draw(st.sampled_from(PLACES))
    return zone, draw(tariffs(around_ms, modes)), draw(series(around_ms))


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """A meter's life around a hard place: up to three tenancies with gaps, up to three registers, two tariffs."""
    zone, around_ms = draw(st.sampled_from(PLACES))
    documents = {name: {**draw(tariffs(around_ms)), "tariff": name} for name in ("x", "y")}
    for version in (version for document in documents.values() for version in document["versions"]):
        if draw(st.integers(0, 3)) == 0:
            version["free"] = {"quantity": f"{draw(st.integers(1, 200)) / 1000:.3f}"}
    instants = st.one_of(
        st.integers(-40, 40).map(lambda half: around_ms + half * 30 * MINUTE_MS),
        st.integers(around_ms - 20 * HOUR_MS, around_ms + 20 * HOUR_MS),
    )
    edges = sorted(draw(st.lists(instants, max_size=4, unique=True)))
    edges = [around_ms - 400 * 24 * HOUR_MS, *edges, around_ms + 400 * 24 * HOUR_MS]
    payers = [(draw(st.sampled_from(["anna", "bo", ""])), draw(st.sampled_from(["x", "y"]))) for _ in edges[1:]]
    tenancies = tuple(
        Tenancy(start, end, tenant, tariff)
        for (start, end), (tenant, tariff) in zip(pairwise(edges), payers, strict=True)
        if tenant
    )
    samples = draw(series(around_ms))
    cuts = sorted(draw(st.lists(st.integers(1, len(samples)), max_size=2, unique=True)))
    parts = [samples[start:end] for start, end in pairwise([0, *cuts, len(samples)])]
    openings = [draw(st.integers(0, 10**6)) for _ in parts]
    epochs = tuple(
        tuple((ts, opening + qty - part[0][1]) for ts, qty in part)
        for part, opening in zip(parts, openings, strict=True)
        if part
    )
    return Life(zone, documents, tenancies, draw(st.sampled_from(["x", "y"])), epochs)
