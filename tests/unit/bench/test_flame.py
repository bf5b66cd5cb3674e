"""The flame graph: stacks become stages and a picture, and no sample is lost on the way."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import aiosqlite.core

from tests.bench.figures_flame import flame_lines, flame_page
from tests.bench.flame import REST, ROOT, fold, stage_of
from tests.bench.flame_picture import picture

LOOP = "thread (1): MainThread;run (/usr/lib/python3.11/asyncio/runners.py:118)"
HANDLE = f"{LOOP};handle ({ROOT}/twin/flows/ingest_batch.py:1)"
PACKAGES = f"{ROOT}/.venv/lib/x/site-packages"
STACKS = (
    f"{HANDLE};decide_all ({ROOT}/twin/core/decide.py:1);rate ({ROOT}/billing/rating.py:1) 400",
    f"{HANDLE};decide_all ({ROOT}/twin/core/decide.py:1) 300",
    f"{HANDLE};commit ({ROOT}/adapters/twins/store.py:1);add_change ({ROOT}/adapters/twins/commit.py:1) 199",
    f"{HANDLE};commit ({ROOT}/adapters/twins/store.py:1);send ({PACKAGES}/redis/asyncio/client.py:1) 100",
    f"{HANDLE};decode_telemetry ({ROOT}/schemas/telemetry.py:1) 1",
)


def test_stages_are_told_by_the_whole_stack() -> None:
    found = fold(STACKS)
    assert {name: count for name, count in found["stages"].items() if count} == {
        "decide: money": 400,
        "decide: the rest": 300,
        "encode": 199,
        "Redis client": 100,
        "validate": 1,
    }
    assert stage_of([("asyncio/runners.py", "run")]) == REST


def test_no_sample_is_lost_by_shortening() -> None:
    found = fold([*STACKS, *(f"{HANDLE};small_{number} ({ROOT}/twin/core/model.py:1) 1" for number in range(900))])
    assert found["samples"] == 1_900
    assert sum(int(text.split()[1]) for text in found["stacks"]) == 1_900
    assert not any("small_" in frame for frame in found["frames"])


def test_threads_that_wait_are_left_out() -> None:
    path = Path(aiosqlite.core.__file__)
    lines = path.read_text(encoding="utf-8").splitlines()
    waits = next(number for number, text in enumerate(lines, 1) if "= tx.get()" in text)
    works = next(number for number, text in enumerate(lines, 1) if "result = function()" in text)
    found = fold(f"thread (2): sqlite;_connection_worker_thread ({path}:{line}) 7" for line in (waits, works))
    assert found["stages"]["ledger"] == found["samples"] == 7


def test_decoding_and_checking_are_told_apart() -> None:
    path = ROOT / "schemas" / "telemetry.py"
    lines = path.read_text(encoding="utf-8").splitlines()
    inside = lines.index("def decode_telemetry(payload: bytes) -> list[dict[str, Any]]:")
    decodes = next(number for number, text in enumerate(lines, 1) if number > inside and "orjson.loads" in text)
    found = fold([f"{HANDLE};decode_telemetry ({path}:{decodes}) 3", f"{HANDLE};decode_telemetry ({path}:{inside}) 2"])
    assert (found["stages"]["decode"], found["stages"]["validate"]) == (3, 2)


def test_the_picture_shows_every_function_with_its_share() -> None:
    run = {"rate": 1_000.0, "cpu_with_ledger_us": {"platform": 100.0}}
    data = {"meters": 10, "rate_hz": 250, "plain": [run], "seen": [run], **fold(STACKS)}
    drawn = ElementTree.fromstring(picture(data))
    titles = [one.text or "" for one in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert "rate  billing/rating.py: 40.0%" in titles
    assert "decide_all  twin/core/decide.py: 70.0%" in titles
    assert [one.value for one in flame_lines(data) if one.what == "encode"] == ["19.9"]
    assert "| encode | 19.9 | 20% |" in list(flame_page(data))
