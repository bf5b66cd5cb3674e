"""The simulated dormitory under the dormitory pack: the rooms with what is forbidden are switched off, no other."""

from __future__ import annotations

from pathlib import Path

from simulators.fleet import Fleet
from simulators.scenario import load_scenario
from tests.unit.twin.scene import make_policy
from tests.unit.twin.test_malignant_end_to_end import dormitory
from twin.core.decide import decide
from twin.core.effects import LockChanged
from twin.core.messages import Birth, ContractsChanged, CreditsPosted, Telemetry
from twin.core.model import BreakerContract, Contract, Group, MeterContract

FLEET = Path(__file__).parents[3] / "simulators" / "parks" / "dormitory" / "fleet.yaml"
SECONDS = 500


def locks_of(meter, begin: int, policy) -> list[tuple[str, int]]:
    """(lock, second) of a room in its first minutes."""
    contract = Contract(meter.id, account=meter.id)
    installed = MeterContract(meter.id, tariff="flat", breaker=meter.id, interval_ms=1_000, supply_from=begin)
    breaker = BreakerContract(meter.id, meters=(meter.id,))
    group = Group("park-1", meter.id)
    for message in (
        ContractsChanged(1, begin, contract, (installed,), (breaker,), None, {meter.id: 0}),
        Birth(meter.id, "s", begin, "closed"),
        CreditsPosted(2, 10**12, 10**12, begin),
    ):
        group = decide(group, message, begin, policy).group
    found = []
    for second in range(1, SECONDS):
        now = begin + second * 1_000
        decision = decide(
            group, Telemetry(meter.id, "s", second, now, meter.channels(now), False, "good", now), now, policy
        )
        group = decision.group
        found += [(one.lock, second) for one in decision.effects if isinstance(one, LockChanged) and one.active]
    return found


def test_the_rooms_with_what_is_forbidden_are_switched_off_and_no_other():
    fleet = Fleet(load_scenario(FLEET))
    policy = make_policy(rulesets=[dormitory()])
    found = {meter.id: locks_of(meter, fleet.begin_ms, policy) for meter in fleet.meters}
    on_at = {"room-001": 120, "room-004": 300, "room-006": 420}
    assert found == {room: [("malignant", on_at[room] + 5)] if room in on_at else [] for room in found}
