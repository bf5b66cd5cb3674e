"""Clauses about configuration: the newest version holds, older ones are ignored, and the device says what it has.

A device that tells no `cfg` in birth or state keeps no configuration, and these clauses are skipped. Every trial leaves
a configuration without settings behind, retained, under the highest version.
"""

from __future__ import annotations

import asyncio
from typing import Any

from simulators.conformance.clause import Clause, ClauseSkippedError, Trial, given, require

SETTLED_S = 1.5
LOAD_W = 20
"""Below this there is no load to speak of."""
JUNK = (
    b"",
    b"{",
    b"\xff\xfe",
    b"[]",
    b'{"v":1}',
    b'{"v":1,"ver":"9","issued":1,"set":{}}',
    b'{"v":1,"ver":-1,"set":{}}',
)


def _told(trial: Trial) -> int:
    """The version that the device last told. Skips the clause where it tells none."""
    for heard in reversed(trial.observer.heard):
        ver = heard.body.get("cfg") if heard.verb in ("state", "birth") and isinstance(heard.body, dict) else None
        if isinstance(ver, int):
            return ver
    raise ClauseSkippedError("neither birth nor state carries cfg: the device keeps no configuration")


async def _take(trial: Trial, settings: dict[str, Any]) -> int:
    """Give it a newer configuration and wait until it says that it has it; returns the version."""
    ver = _told(trial) + 1
    mark = await trial.observer.configure(ver, settings)
    seconds = trial.limits.answer_s
    found = await trial.observer.wait(mark, "state", lambda body: body.get("cfg") == ver, seconds)
    given(
        None if found is None else found.body, f"state does not say cfg {ver} within {seconds:g} s, but {_told(trial)}"
    )
    return ver


async def newest(trial: Trial) -> None:
    """A newer configuration is taken, twice."""
    await _take(trial, {"limit_w": 60_000, "limit_for_ms": 3_600_000})
    await _take(trial, {})


async def older(trial: Trial) -> None:
    """One that is not newer changes nothing."""
    await _take(trial, {})
    ver = await _take(trial, {})
    for stale in (ver - 1, ver):
        await trial.observer.configure(stale, {"limit_w": 60_000})
        await asyncio.sleep(SETTLED_S)
        require(_told(trial) == ver, f"told cfg {ver}, and after version {stale} it tells {_told(trial)}")
    await trial.observer.configure(ver, {})


async def junk(trial: Trial) -> None:
    """Junk changes nothing, and the next configuration is taken."""
    ver = await _take(trial, {})
    for payload in JUNK:
        await trial.observer.publish_configuration(payload)
    await asyncio.sleep(SETTLED_S)
    require(_told(trial) == ver, f"told cfg {ver}, and after junk it tells {_told(trial)}")
    await _take(trial, {})


async def survives_restart(trial: Trial) -> None:
    """The version is kept over a restart and stands in birth."""
    assert trial.restart is not None
    ver = await _take(trial, {})
    mark = trial.observer.mark
    await trial.restart()
    found = await trial.observer.wait(mark, "birth", lambda _body: True, 120.0)
    body = given(None if found is None else found.body, "no birth within 120 s of the restart")
    require(body.get("cfg") == ver, f"told cfg {ver} before the restart, birth after it tells {body.get('cfg')!r}")


async def limit(trial: Trial) -> None:
    """A load above its limit is cut by the device itself."""
    _told(trial)
    if trial.channel != "relay":
        raise ClauseSkippedError("a load limit is for electricity")
    await trial.move(trial.on)
    power_w = await _load(trial)
    try:
        mark = trial.observer.mark
        await _take(trial, {"limit_w": power_w // 4, "limit_for_ms": 1_000})
        seconds = trial.limits.interval_s * 2 + trial.limits.travel_s
        found = await trial.observer.wait(mark, "state", lambda body: body.get("relay") in ("open", "armed"), seconds)
        given(
            None if found is None else found.body,
            f"{power_w} W flow on {seconds:g} s after a limit of {power_w // 4} W",
        )
    finally:
        await trial.observer.configure(_told(trial) + 1, {})
    await trial.move(trial.off)


async def _load(trial: Trial) -> int:
    """Power of the next sample; skips the clause where there is none."""
    heard = await trial.observer.wait(trial.observer.mark, "tele", lambda _body: True, trial.limits.interval_s * 1.5)
    body = given(None if heard is None else heard.body, "no sample after the closing")
    sample = body[-1] if isinstance(body, list) else body
    power_w = sample["d"].get("power_w")
    if not isinstance(power_w, int) or power_w < LOAD_W:
        raise ClauseSkippedError(f"no load to limit: the sample says {power_w} W")
    return power_w


CLAUSES = (
    Clause("TM-301", "a newer configuration is taken, and state tells its version", newest),
    Clause("TM-302", "a configuration that is not newer is ignored", older),
    Clause("TM-303", "junk on the configuration topic changes nothing", junk),
    Clause("TM-304", "the version survives a restart and stands in birth", survives_restart, ("restart",)),
    Clause("TM-311", "a load above limit_w for longer than limit_for_ms is cut by the device", limit, ("close",)),
)
