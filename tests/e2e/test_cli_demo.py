"""The demonstration, headless: from an empty folder to a proved ledger."""

from __future__ import annotations

import json
import socket

from tests.e2e.cli import twinmeter


def test_the_park_runs_is_counted_and_proved(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = twinmeter(
            "demo", "--headless", "--for", "20s", "--json", "out.json", "--data", "park", "--port", port,
            cwd=tmp_path, within_s=240,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"port {port} is taken by pid" in done.stderr
    out = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert out["readings"] > 1_000
    assert out["messages_per_s"] > 50
    assert out["charges_nano"] > 0
    assert out["low_balance_alarms"] > 0
    assert {"cutoffs", "recharges", "reconnections", "commands"} <= out.keys()
    assert out["verify"]["ok"] is True
    (site,) = out["verify"]["sites"]
    assert (site["groups"], site["twins_agreeing"], site["findings"], site["in_motion"]) == (232, 232, [], [])
    assert site["totals"]["charges_nano"] + site["open_nano"] == out["charges_nano"]
    assert not (tmp_path / "park" / "running.json").exists()
    again = twinmeter("verify", "--data", "park", cwd=tmp_path)
    assert again.returncode == 0, again.stdout
    refused = twinmeter("demo", "--headless", "--for", "1s", "--data", "park", cwd=tmp_path)
    assert (refused.returncode, "not an empty folder" in refused.stderr) == (2, True)
