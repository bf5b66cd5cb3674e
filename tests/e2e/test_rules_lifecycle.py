"""Rules from the first run to the last word: recorded, replayed, added, tried in the shadow, activated, rolled back,
explained for an instant of the past and told to the tenant. The command line, `up`, simulators and servers are real.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.http_client import Client
from tests.e2e.installation import Installation
from tests.e2e.test_recharge import CLOCK, TENANT, fleet_file, park

MINUTE_MS = 60_000
LATE_MS = 10 * MINUTE_MS
"""So much later than it was due a machine that does other things may cut: twenty seconds of the wall."""
CUT = "arrears-cutoff"


def told(place: Installation, *arguments: str, code: int = 0) -> str:
    """Standard output of a command that must end with this code."""
    done = place.run(*arguments)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stderr


def candidate_file(folder: Path, document) -> Path:
    """The next version: nobody is cut for arrears within an hour, whatever the tenants' own grace says."""
    (ruleset,) = document.rulesets.values()
    changed = copy.deepcopy(ruleset)
    changed["version"] += 1
    rule = next(rule for rule in changed["rules"] if rule["id"] == CUT)
    rule["for"] = "1h"
    changed.pop("tests", None)
    file = folder / "candidate.json"
    file.write_text(json.dumps(changed))
    return file


def wait_for(check, within_s: float, what: str):
    """Poll until something is true."""
    deadline = time.monotonic() + within_s
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


@pytest.mark.timeout(600)
def test_a_changed_rule_is_replayed_tried_activated_rolled_back_and_explained(tmp_path: Path):
    place = Installation(tmp_path / "installation")
    place.set(TWINMETER_CLOCK=CLOCK, LANG="en_US.UTF-8")
    document = park()
    (name,) = document.rulesets
    old = document.rulesets[name]["version"]
    file = candidate_file(tmp_path, document)
    fleet = None
    try:
        assert place.import_site(document).returncode == 0
        place.start()
        url = place.http_url
        client = Client(url, place.environment["TWINMETER_ADMIN_TOKEN"])
        assert f"added {name} {old + 1}" in told(place, "rules", "add", str(file))
        assert "no change" in told(place, "rules", "add", str(file), "--url", url)
        told(place, "rules", "shadow", "start", name, str(old + 1), "--url", url)
        running = json.loads((place.folder / "data" / "running.json").read_text())
        arguments = [str(fleet_file(tmp_path)), "--mqtt-url", running["mqtt_url"], "--clock", running["clock"]]
        fleet = subprocess.Popen([sys.executable, "-m", "simulators.run", *arguments])
        client.wait(TENANT, lambda tenant: tenant["state"] == "OFF_ARREARS", 120)
        locked = json.loads(told(place, "rules", "why", "t-001", "--json"))
        since = locked["locks"][0]["since"]

        shadow = wait_for(
            lambda: next(
                (
                    item
                    for item in json.loads(told(place, "rules", "shadow", "status", "--json"))
                    if any(found["kind"] == "cut" and found["tenant"] == "t-001" for found in item["differences"])
                ),
                None,
            ),
            120,
            "the shadow run never told that it would not have cut t-001",
        )
        assert shadow["shadow"]["state"] == "running"
        assert not shadow["candidate"].get("cut"), "within an hour the candidate cuts nobody"
        due = check_replay(place, file, since)
        check_explanations(place, client, due)
        check_activation(place, file, url, name, old)
    finally:
        if fleet is not None:
            fleet.terminate()
            fleet.wait(60)
        place.stop()
    assert place.verify().returncode == 0


def check_replay(place: Installation, file: Path, since: int) -> int:
    """The active version cuts in the replay when it did live; the candidate does not. Returns when the cut was due,
    which is when the replay does it."""
    span = ("--from", str(since - 30 * MINUTE_MS), "--to", str(since + MINUTE_MS))
    result = json.loads(told(place, "rules", "replay", str(file), *span, "--json"))
    cuts = [found for found in result["comparison"]["differences"] if found["kind"] == "cut"]
    mine = next(found for found in cuts if found["tenant"] == "t-001")
    assert mine["candidate_ts"] is None
    assert since - LATE_MS <= mine["active_ts"] <= since + MINUTE_MS, "the replay cuts when the platform did"
    assert result["charges_differ"] == {}
    assert result["charged_nano"][0] == result["charged_nano"][1] > 0
    assert "只有现行版" in told(place, "--lang", "zh", "rules", "replay", str(file), *span)
    gone = told(place, "rules", "replay", str(file), "--from", "2020-01-01", "--to", "2020-01-02", code=1)
    assert "history of this site goes from" in gone
    return int(mine["active_ts"])


def check_explanations(place: Installation, client: Client, due: int) -> None:
    """Fired now; still waiting a minute before; the tenant is told the same, in both languages."""
    now = json.loads(told(place, "rules", "explain", CUT, "--twin", "t-001", "--json"))["records"][0]
    assert (now["state"], now["gate"]) == ("fired", "")
    asked = ("rules", "explain", CUT, "--twin", "em-001", "--at", str(due - MINUTE_MS))
    before = json.loads(told(place, *asked, "--json"))["records"][0]
    assert (before["state"], before["gate"]) == ("pending", "pending")
    assert 0 < before["pending"]["elapsed_ms"] < before["pending"]["required_ms"] == 2 * MINUTE_MS
    assert before["clauses"][-1]["result"] is True
    far = client.get(f"/sites/park-1/rules/{CUT}/explain?twin=t-001&at={due - MINUTE_MS}&lang=zh")
    assert far["records"][0]["pending"] == before["pending"]
    assert "正在等待" in far["text"][0]
    lost = told(place, "rules", "explain", CUT, "--twin", "t-001", "--at", "2020-01-01", code=1)
    assert "nothing is recorded for 2020-01-01" in lost
    why = client.get("/sites/park-1/tenants/t-001/why")
    assert why["cut"]
    assert "余额不足" in why["text"]["zh"]
    assert "top-up" in why["text"]["en"]
    assert "the balance, -" in why["text"]["en"]
    earlier = json.loads(told(place, "rules", "why", "t-001", "--at", str(due - MINUTE_MS), "--json"))
    assert not earlier["cut"]
    assert "goes off in about" in earlier["text"]["en"]


def check_activation(place: Installation, file: Path, url: str, name: str, old: int) -> None:
    """Immutable, audited, by API and directly, and back in one command."""
    changed = json.loads(file.read_text())
    changed["description"] = "something else"
    other = file.with_name("other.json")
    other.write_text(json.dumps(changed))
    assert "version_exists" in told(place, "rules", "add", str(other), code=1)
    dry = told(place, "rules", "activate", name, str(old + 1), "--why", "try", "--dry-run")
    assert f"~ {CUT}" in dry
    done = told(place, "rules", "activate", name, str(old + 1), "--why", "an hour of grace", "--url", url)
    assert f"active: {name} {old + 1} (activate)" in done
    assert "already_active" in told(place, "rules", "activate", name, str(old + 1), "--why", "again", code=1)
    ended = wait_for(
        lambda: [
            item
            for item in json.loads(told(place, "rules", "shadow", "status", "--json"))
            if item["shadow"]["state"] == "activated"
        ],
        120,
        "a shadow run ends when its version is activated",
    )
    assert ended
    again = place.run("site", "import", str(place.folder / "site.json"))
    assert again.returncode == 0
    assert f"refused ~ ruleset {name} version: {old + 1} -> {old}" in again.stdout
    assert f"active: {name} {old} (rollback)" in told(place, "rules", "rollback", name, "--why", "too long")
    listed = json.loads(told(place, "rules", "versions", "--json"))
    assert [row["version"] for row in listed["versions"] if row["active"]] == [old]
    assert [row["source"] for row in listed["activations"]] == ["rollback", "activate", "import"]
    assert listed["activations"][1]["why"] == "an hour of grace"
    assert listed["activations"][1]["who"] == "admin"
    assert "nothing_to_roll_back" in told(place, "rules", "rollback", name, "--why", "again", code=1)
