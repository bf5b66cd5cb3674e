"""Steps of power, from both sources: streams of about one sample a second, and events that meters send themselves.

A meter that streams has the newest seconds of its stream kept in its twin, a few hundred bytes, and only while it does:
they leave with the first gap. So a restart in the middle of a step changes nothing, and after a rebuild, when they are
gone, what was on already is no step. A step that is found becomes the event `power_step` that meters send, with the
samples that prove it, and rules look at it the same way. Nothing is concluded from samples that are late, from a
buffer, or a quarter of an hour apart; an event counts once, and not when it is old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from twin.core import malignant
from twin.core.malignant import GAP_MS, Step, sample_of, settings_of
from twin.core.messages import DeviceEvent
from twin.core.model import Sequence, StepWatch
from twin.core.primary import primary_event
from twin.core.sequence import admit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twin.core.draft import Draft
    from twin.core.messages import Telemetry
    from twin.core.model import MeterTwin
    from twin.core.policy import SitePolicy
    from twin.core.sight import View

LATE_MS = 300_000
"""An event or sample older than this actuates nothing, where the site allows its clocks nothing else."""
RESTORED_MS = 15_000
"""A step so soon after its breaker has closed, from nothing, is what was left switched on."""
POWER_STEP = "power_step"


def watch(
    draft: Draft, meter: MeterTwin, sample: Telemetry, ts: int, was_at: int | None, now: int
) -> list[DeviceEvent]:
    """Put one live sample of a meter (private to the draft) to its stream; returns the steps that are sure by now.

    `was_at` is the instant of the live sample before it. The caller has made sure that a rule wants to know.
    """
    known = meter.steps
    if was_at is None or ts - was_at > GAP_MS or _is_old(draft.policy, ts, now):
        if known is not None:
            meter.steps = None
        return []
    taken = sample_of(sample.d, ts)
    if taken is None or ts == was_at:
        return []
    settings = _settings(draft, meter)
    if settings is None or not settings.bands:
        meter.steps = None
        return []
    kept, looked_ts = (known.samples, known.looked_ts) if known is not None else ((), ts)
    samples, looked_ts, steps = malignant.advance(kept, looked_ts, taken, settings)
    meter.steps = StepWatch(samples, looked_ts)
    return [_event(draft, meter, step) for step in steps]


def _settings(draft: Draft, meter: MeterTwin) -> malignant.Settings | None:
    """The settings of the first ruleset that declares any, as this meter has them; None: nobody looks for steps."""
    ruleset = draft.policy.by_trigger.steps
    if ruleset is None:
        return None
    group = draft.group
    set_for_tenant = group.tenant.params if group.tenant is not None else None
    contract = group.meter_contracts[meter.id]
    return settings_of(draft.policy.params_for(ruleset, group.contract, contract, set_for_tenant, meter.params))


def _event(draft: Draft, meter: MeterTwin, step: Step) -> DeviceEvent:
    """The step as a meter would have told it."""
    told: dict[str, Any] = {"step_w": step.step_w, "inrush_w": step.inrush_w, "power_w": step.level_w + step.step_w}
    if step.share_milli is not None:
        told["step_pf_milli"] = step.share_milli
    proof = {
        "source": "stream",
        "before": [msgspec.to_builtins(one) for one in step.before],
        "after": [msgspec.to_builtins(one) for one in step.after],
    }
    restored = step.level_w <= malignant.DEAD_W and _closed_just_before(draft, meter.id, step.at)
    return DeviceEvent(meter.id, POWER_STEP, step.at, d=told, proof=proof, restored=restored)


def _closed_just_before(draft: Draft, meter_id: str, at: int) -> bool:
    """Whether the breaker in front of a meter has closed a moment before an instant."""
    name = draft.group.meter_contracts[meter_id].breaker
    breaker = draft.group.breakers.get(name) if name is not None else None
    if breaker is None or breaker.relay != "closed" or breaker.relay_since is None:
        return False
    return -GAP_MS <= at - breaker.relay_since <= RESTORED_MS


def heard(draft: Draft, event: DeviceEvent, now: int) -> DeviceEvent | None:
    """An event that a device sent, before its transformers; None for one that was heard before, or so late that nothing
    may follow from it."""
    if event.hist or _is_old(draft.policy, event.ts, now):
        return None
    group = draft.group
    contract = group.meter_contracts.get(event.device)
    if event.sid:
        twin = draft.meter(event.device) if contract is not None else draft.breaker(event.device)
        window = twin.events if twin.events is not None else Sequence()
        twin.events, arrival = admit(window, event.sid, event.seq)
        if arrival in ("duplicate", "ancient"):
            return None
    return primary_event(event, contract.ratio) if contract is not None and contract.ratio != 1 else event


def _is_old(policy: SitePolicy, ts: int, now: int) -> bool:
    return now - ts > max(policy.skew_ms or 0, LATE_MS)


def step_class(view: View) -> str | None:
    """What the step of a view's event is under the parameters of the rule that looks; None where there is none."""
    event = view.device_event
    step_w = event.d.get("step_w") if event is not None else None
    if event is None or not isinstance(step_w, int):
        return None
    share = event.d.get("step_pf_milli")
    inrush = event.d.get("inrush_w")
    return malignant.classify(
        settings_of(view.params),
        step_w,
        share if isinstance(share, int) else None,
        inrush_w=inrush if isinstance(inrush, int) else 0,
        restored=event.restored,
    )


def evidence(view: View) -> dict[str, Any] | None:
    """What proves the step that a rule looked at, for the record: where and when, what it is and by which parameters,
    and the samples before and after it as [Unix ms, W, VA that are not active]."""
    event = view.device_event
    if event is None or event.kind != POWER_STEP or view.meter_id is None:
        return None
    params: Mapping[str, Any] = view.params
    told: dict[str, Any] = {
        name: event.d[name] for name in ("step_w", "step_pf_milli", "inrush_w", "power_w") if name in event.d
    }
    return {
        "kind": POWER_STEP,
        "meter": view.meter_id,
        "at": event.ts,
        **told,
        "class": step_class(view),
        "restored": event.restored,
        "params": {name: params[name] for name in malignant.PARAMS if name in params},
        **(event.proof or _told_by_device(view, event)),
    }


def _told_by_device(view: View, event: DeviceEvent) -> dict[str, Any]:
    """What stands beside an event that the meter sent: its stream or its last reading, and the power it told."""
    meter = view.meter
    before = list(meter.steps.samples) if meter.steps is not None else []
    if not before and meter.at is not None:
        last = sample_of(meter.values, meter.at)
        before = [last] if last is not None else []
    power_w = event.d.get("power_w")
    after = [[event.ts, power_w, None]] if isinstance(power_w, int) else []
    return {
        "source": "device",
        "before": [msgspec.to_builtins(one) for one in before if one.ts <= event.ts],
        "after": after,
    }
