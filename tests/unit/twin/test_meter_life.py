"""Logs shuffled, repeated and delayed, with swaps, ratios, resets and hand-overs at any instant: posted rows tile every
epoch, every accepted sample is with exactly one of them, and what is charged live is what the samples say."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.rating import rate
from tests.unit.twin.scene import HOUR, MINUTE, Scene, make_policy
from twin.core import samples
from twin.core.decide import decide
from twin.core.effects import ChargePosted, EpochOpened, LateReading, MeterReleased, MeterTaken, RatingDoubted
from twin.core.messages import ContractsChanged, Handed, ReadingEntered, RegisterReplaced, Telemetry
from twin.core.model import Contract, Group, MeterTwin

STEPS = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.integers(0, 400),
        st.sampled_from(["read"] * 8 + ["replace", "ratio", "manual", "hand over"]),
    ),
    min_size=3,
    max_size=25,
)
DISORDER = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=25, max_size=25)


class Life:
    """One meter that passes from group to group; everything it caused, in order."""

    def __init__(self, tariff: str) -> None:
        self.scene = Scene(tariff=tariff, policy=make_policy(params={"low1": "0.00", "low2": "0.00"}))
        self.shown = self.scene.wh
        self.holders = ["t-001"]

    def hand_over(self) -> None:
        scene = self.scene
        before = scene.group
        act = ContractsChanged(scene.next_act(), scene.now, before.contract, released={"em-001": "H1"})
        released = [effect for effect in scene.play(act) if isinstance(effect, MeterReleased)]
        assert scene.group.meters == {}
        name = f"t-{len(self.holders) + 1:03d}"
        self.holders.append(name)
        (effect,) = released
        # The effect travels as JSON, like everything between two groups.
        effect = msgspec.json.decode(msgspec.json.encode(effect), type=MeterReleased)
        contract = msgspec.structs.replace(before.meter_contracts["em-001"], supply_from=scene.now)
        scene.group = Group("park-1", name)
        scene.act = 0
        scene.contracts = {**scene.contracts, "contract": Contract(name, account=name), "meters": (contract,)}
        handed = (Handed("H1", effect.meter, effect.breaker),)
        scene.play(ContractsChanged(scene.next_act(), scene.now, **scene.contracts, handed=handed))
        assert any(isinstance(one, MeterTaken) for one in scene.effects)
        scene.credit("100000.00")

    def step(self, minutes: int, used: int, kind: str) -> None:
        scene = self.scene
        scene.now += minutes * MINUTE
        self.shown += used
        if kind == "replace":
            contract = scene.group.meter_contracts["em-001"]
            scene.play(RegisterReplaced(scene.next_act(), "em-001", scene.now, 5, "replacement", contract, self.shown))
            self.shown = 5
        elif kind == "ratio":
            scene.play(ReadingEntered(scene.next_act(), "em-001", self.shown, scene.now, "manual"))
            ratio = 1 + scene.group.meter_contracts["em-001"].ratio % 3
            scene.change(ratio=ratio, modulus=ratio * 10**9)
        elif kind == "manual":
            scene.play(ReadingEntered(scene.next_act(), "em-001", self.shown, scene.now, "manual"))
        elif kind == "hand over":
            self.hand_over()


def rows_of(effects):
    return [effect for effect in effects if isinstance(effect, ChargePosted)]


def check(effects, policy, tariff, register):
    """Rows tile their epochs; the samples, rated pair by pair from each opening, give exactly the rows and the rest."""
    epochs = {(1, 1000): []}
    opening = {1: 1000}
    for effect in effects:
        if isinstance(effect, EpochOpened):
            opening[effect.epoch] = effect.opening
    rows = rows_of(effects)
    for epoch, start in opening.items():
        own = [row for row in rows if row.epoch == epoch]
        assert [row.from_qty for row in own] == [start, *[row.to_qty for row in own]][: len(own)], "no gap, no overlap"
        points = [point for row in own for point in samples.unpack(row.points)]
        assert points == sorted(points, key=lambda point: (point.ts, point.qty))
        assert len({(point.ts, point.qty) for point in points}) == len(points), "each sample once"
        if epoch == register.epoch:
            points += samples.unpack(register.points)
        if own:
            assert points[-1].qty >= own[-1].to_qty, "the far end of the last pair is there"
        epochs[epoch, start] = points
    return epochs, rows


@settings(max_examples=60, deadline=None)
@given(STEPS, DISORDER, st.sampled_from(["flat", "tou"]))
def test_any_life_tiles_and_charges_what_its_samples_say(steps, disorder, tariff):
    life = Life(tariff)
    scene = life.scene
    begin = scene.now
    waiting = []
    total = 0
    for number, ((minutes, used, kind), (delay, twice)) in enumerate(zip(steps, disorder, strict=False)):
        life.step(minutes, used if kind != "replace" else min(used, 50), kind)
        if kind == "read":
            scene.seq += 1
            sample = Telemetry(
                "em-001", "s1", scene.seq, scene.now, {"import_wh": life.shown}, delay > 0, "good", scene.now
            )
            waiting.append((number + delay, sample))
            if twice:
                waiting.append((number + delay + 1, sample))
        for due in [entry for entry in waiting if entry[0] <= number]:
            waiting.remove(due)
            scene.play(due[1])
    for _, sample in waiting:
        scene.play(sample)
    charged_by = rows_of(scene.effects)
    scene.wait(6 * HOUR)
    register = scene.register
    epochs, rows = check(scene.effects, scene.policy, tariff, register)
    assert register.posted == register.head == register.seen
    total = sum(row.amount_nano for row in rows)
    month = month_use = year_use = expected = 0
    compiled = scene.policy.tariffs[tariff]
    started = {1: begin} | {e.epoch: e.ts for e in scene.effects if isinstance(e, EpochOpened)}
    for (epoch, start), points in epochs.items():
        before = (started.get(epoch, begin), start)
        for point in points:
            pair = (before[0], point.ts, before[1], point.qty)
            rated = rate(compiled, *pair, month, month_use, year_use=year_use)
            month, month_use, year_use = rated.month, rated.month_use, rated.year_use
            expected += sum(piece.amount_nano for piece in rated.slices)
            before = (point.ts, point.qty)
    assert total == expected
    assert charged_by == rows_of(scene.effects)[: len(charged_by)]
    for effect in scene.effects:
        if isinstance(effect, LateReading):
            assert effect.ts < scene.now


def test_a_pair_across_a_hand_over_is_rated_again():
    life = Life("flat")
    life.scene.now += 10 * MINUTE
    life.scene.sample(100)
    life.scene.now += 10 * MINUTE
    life.hand_over()
    life.scene.now += 10 * MINUTE
    life.scene.sample(100)
    life.scene.wait(2 * HOUR)
    rows = rows_of(life.scene.effects)
    doubted = [effect.from_ts for effect in life.scene.caused(RatingDoubted)]
    assert doubted == [row.from_ts for row in rows[1:]], "both rows of the pair begin before the tenant"
    assert [row.tenant for row in rows] == ["t-001", "t-002", "t-002"]


def test_an_act_given_twice_replaces_once():
    scene = Scene()
    contract = scene.group.meter_contracts["em-001"]
    act = RegisterReplaced(scene.next_act(), "em-001", scene.now, 5, "replacement", contract, 1_010)
    scene.play(act)
    again = decide(scene.group, act, scene.now, scene.policy)
    assert (again.effects, again.group.meters["em-001"].register.epoch) == ((), 2)
    assert isinstance(again.group.meters["em-001"], MeterTwin)
