"""Pieces of replays and versions, each by itself: comparing, guards over parts, the way back, orders of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rules.language.tracer import Clause
from tests.unit.twin.scene import MIDNIGHT, make_policy
from twin.core.effects import LockChanged, RuleChanged
from twin.core.model import BreakerTwin, Group, Lock, TenantTwin
from twin.flows.replay import SideState, guards_exceeded
from twin.flows.replay_compare import compare_findings
from twin.flows.replay_findings import findings_of
from twin.flows.replay_rules import shares
from twin.flows.rule_versions import rollback_target
from twin.flows.tenant_words import _Words
from twin.recorded import Activation, Finding


def moves(*steps: tuple[int | None, str]) -> list[Activation]:
    return [Activation("r", version, None, n, "lin", "", source) for n, (version, source) in enumerate(steps)]


def test_the_way_back_is_a_stack():
    assert rollback_target([]) is None
    assert rollback_target(moves((6, "import"))) is None
    assert rollback_target(moves((6, "import"), (7, "activate"))) == 6
    assert rollback_target(moves((6, "import"), (7, "activate"), (8, "activate"))) == 7
    back = ((6, "import"), (7, "activate"), (8, "activate"), (7, "rollback"))
    assert rollback_target(moves(*back)) == 6, "a second rollback goes on, not forth"
    assert rollback_target(moves(*back, (6, "rollback"))) is None
    assert rollback_target(moves(*back, (9, "activate"))) == 7
    assert rollback_target(moves((6, "import"), (None, "deactivate"))) == 6


def test_locks_become_cuts_and_reconnections_by_what_stands():
    group = Group("park-1", "t-1", tenant=TenantTwin("t-1"), breakers={"b-1": BreakerTwin("b-1")})
    effects = (
        LockChanged("b-1", "credit", True, "rule", "arrears", 1, None, "arrears", 7),
        LockChanged("b-1", "manual", True, "lin", "works", 2),
        LockChanged("b-1", "credit", False, "rule", "recharge", 3, None, "recharge", 7),
        LockChanged("b-1", "manual", False, "lin", "done", 4),
        RuleChanged("arrears", 7, "t-1", 5, "pending", "pending"),
    )
    found = findings_of(group, effects)
    assert [(one.kind, one.rule, one.detail) for one in found] == [
        ("cut", "arrears", "credit"),
        ("locked", "person", "manual"),
        ("unlocked", "recharge", "credit"),
        ("reconnected", "person", "manual"),
    ]
    standing = Group("park-1", "t-1", breakers={"b-1": BreakerTwin("b-1", locks={"manual": Lock("lin", "", 0)})})
    assert findings_of(standing, effects[:1])[0].kind == "locked"


FINDINGS = st.lists(
    st.builds(
        Finding,
        st.integers(0, 20),
        st.sampled_from(["cut", "alarm"]),
        st.sampled_from(["a", "b"]),
        st.just("t"),
        st.just("t"),
    ),
    max_size=12,
)


@given(FINDINGS, FINDINGS)
def test_comparing_loses_and_invents_nothing(active: list[Finding], candidate: list[Finding]):
    compared = compare_findings(active, candidate)
    ours = sum(found.active_ts is not None for found in compared.differences)
    theirs = sum(found.candidate_ts is not None for found in compared.differences)
    assert (compared.same + ours, compared.same + theirs) == (len(active), len(candidate))
    assert compare_findings(active, active).differences == []
    mirrored = compare_findings(candidate, active)
    assert len(mirrored.differences) == len(compared.differences)
    assert sum(row.differences for row in compared.rules) == len(compared.differences)


def test_differences_come_by_weight_and_then_by_time():
    active = [Finding(5, "alarm", "x", "t"), Finding(9, "cut", "x", "t")]
    candidate = [Finding(7, "cut", "x", "t"), Finding(1, "notified", "x", "t")]
    found = compare_findings(active, candidate).differences
    assert [(one.kind, one.active_ts, one.candidate_ts) for one in found] == [
        ("cut", 9, 7),
        ("alarm", 5, None),
        ("notified", None, 1),
    ]


def test_guards_of_parts_are_counted_together():
    rules = {"arrears": (3, 600_000)}
    near = [{"arrears": [(0, 1), (500_000, 1)]}, {"arrears": [(100_000, 1)]}]
    assert guards_exceeded(near, rules) == ["arrears"]
    far = [{"arrears": [(0, 1), (700_000, 1)]}, {"arrears": [(600_000, 1)]}]
    assert guards_exceeded(far, rules) == []
    assert guards_exceeded([{}], rules) == []


def test_groups_are_shared_out_once_each():
    names = [f"t-{number}" for number in range(50)]
    parts = shares(names, 3)
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert parts == shares(reversed(names), 3)
    assert shares([], 2) == []


def test_policies_change_at_their_instant():
    early, late = make_policy(), make_policy()
    side = SideState([(0, early), (MIDNIGHT, late)], {})
    side.advance(MIDNIGHT - 1)
    assert side.policy is early
    side.advance(MIDNIGHT)
    assert side.policy is late


def test_figures_are_told_in_both_languages():
    zh, en = _Words(0, None), _Words(1, None)  # type: ignore[arg-type]
    clause = Clause("account.balance <= -p.emergency_credit", "-3.205", "<=", "0.00", True)
    assert zh.clause(clause) == "余额 -3.21 元，不高于 0.00 元"
    assert en.clause(clause) == "the balance, -3.21, is not above 0.00"
    assert en.clause(Clause('tenant.mode == "prepaid"', "prepaid", "==", "prepaid", True)) == ""
    assert (zh.duration(90 * 60_000), en.duration(24 * 3_600_000)) == ("90 分钟", "1 day")
