"""The command line of the simulator: what it refuses and how it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulators.broker import parse_broker
from simulators.parks.generate import FOLDER
from simulators.run import main

PARK = str(FOLDER / "fleet.yaml")


def test_a_broker_address_is_read_and_its_password_is_not_shown() -> None:
    broker = parse_broker("mqtts://gate:s%40cret@broker.example")
    assert (broker.host, broker.port, broker.username, broker.password, broker.tls) == (
        "broker.example",
        8883,
        "gate",
        "s@cret",
        True,
    )
    assert "cret" not in repr(broker)
    assert parse_broker("mqtt://127.0.0.1:2883").port == 2883


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-file.yaml"], "no-such-file.yaml"),
        ([PARK, "--clock", "sundial"], "sundial"),
        ([PARK, "--clock", "telemetry"], "telemetry"),
        ([PARK, "--mqtt-url", "http://127.0.0.1"], "mqtt://127.0.0.1:1883"),
        ([PARK, "--api-url", "nowhere"], "nowhere"),
        ([PARK, "--api-url", "http://127.0.0.1", "--api-token-file", "no-token"], "no-token"),
        ([PARK, "--state", str(Path(__file__))], "not a state file"),
    ],
)
def test_wrong_usage_ends_with_2_and_names_what_is_wrong(
    arguments: list[str], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(arguments) == 2
    assert message in caplog.text
