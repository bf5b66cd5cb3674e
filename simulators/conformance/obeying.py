"""Clauses about what a device does when it is told: the command protocol, with everything that can go wrong on the way.

Every trial leaves the device off. Closing is tried only where the person who runs the kit allows it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from simulators.conformance.clause import Clause, ClauseFailedError, ClauseSkippedError, Trial, given, require
from simulators.conformance.observer import FINAL

UNKNOWN_TARGET = "ajar"


async def opening(trial: Trial) -> None:
    """Open is received, executed and told."""
    command = await trial.send(trial.off)
    given(
        await trial.observer.ack(command, ("received", *FINAL), trial.limits.answer_s),
        f"no answer within {trial.limits.answer_s:g} s",
    )
    ack = await trial.end_of(command)
    require(ack["st"] == "executed", f"ended {ack['st']}: {ack.get('reason', 'no reason given')}")
    require(
        ack.get(trial.channel) == trial.off, f"executed, and the answer says {trial.channel} {ack.get(trial.channel)!r}"
    )


async def told_in_state(trial: Trial) -> None:
    """After an opening the retained state says so, with the fence."""
    command = await trial.move(trial.off)
    fence = command.body["fence"]
    found = await trial.observer.wait(
        0, "state", lambda body: body.get(trial.channel) == trial.off and body.get("fence", fence) >= fence, 5.0
    )
    given(None if found is None else found.body, f"state does not say {trial.off} within 5 s of the execution")


async def nothing_flows(trial: Trial) -> None:
    """Off means that nothing flows."""
    await trial.move(trial.off)
    mark = trial.observer.mark
    heard = await trial.observer.wait(mark, "tele", lambda _body: True, trial.limits.interval_s * 1.5)
    body = None if heard is None else heard.body
    sample = given(body[-1] if isinstance(body, list) else body, "no sample after the opening")
    power_w = sample["d"].get("power_w")
    if power_w is None:
        raise ClauseSkippedError("samples carry no power_w")
    require(abs(power_w) <= trial.limits.idle_w, f"off, and {power_w} W flow: bypass, welded contact or wrong channel")


async def repeat(trial: Trial) -> None:
    """A command that comes again is answered from memory and moves nothing."""
    command = await trial.move(trial.off)
    first = await trial.end_of(command)
    again = await trial.observer.publish(command)
    second = await trial.end_of(again)
    require(
        (second["st"], second.get(trial.channel)) == (first["st"], first.get(trial.channel)),
        f"the first answer was {first['st']}, the second {second['st']}",
    )


async def repeat_after_another(trial: Trial) -> None:
    """The memory outlives newer commands: an old close that comes again must not undo a later open."""
    if not trial.may_close:
        raise ClauseSkippedError("closing is not allowed here (--allow-close)")
    close = await trial.move(trial.on)
    await trial.move(trial.off)
    again = await trial.observer.publish(close)
    ack = await trial.end_of(again)
    await _still_off(trial)
    require(ack["st"] == "executed", f"the repeated close was answered {ack['st']}, from memory it is executed")


async def stale_fence(trial: Trial) -> None:
    """A fence below the last executed one is refused, whatever it asks for."""
    await trial.move(trial.off)
    stale = await trial.send(trial.on, fence=trial.highest_fence - 1)
    ack = await trial.end_of(stale)
    require(ack["st"] == "rejected", f"a stale fence was answered {ack['st']}")
    await _still_off(trial)


async def expired(trial: Trial) -> None:
    """After its expiry a command is answered expired and does nothing."""
    await trial.move(trial.off)
    now_ms = trial.observer.now_ms()
    command = await trial.send(trial.on, issued=now_ms - 120_000, exp=now_ms - 60_000)
    ack = await trial.end_of(command)
    require(ack["st"] == "expired", f"an expired command was answered {ack['st']}")
    await _still_off(trial)


async def without_expiry(trial: Trial) -> None:
    """No expiry, no command."""
    await trial.move(trial.off)
    fields = {"op": trial.op, "target": trial.on, "fence": trial.next_fence()}
    command = await trial.observer.command(fields, without=("exp",))
    ack = await trial.observer.ack(command, FINAL, trial.limits.answer_s)
    require(ack is None or ack["st"] == "rejected", f"a command without expiry was answered {(ack or {}).get('st')}")
    await _still_off(trial)


async def unknown_words(trial: Trial) -> None:
    """Operations and targets that the device does not know are refused."""
    await trial.move(trial.off)
    for fields in ({"target": UNKNOWN_TARGET}, {"op": "breaker.toggle"}):
        command = await trial.send(trial.on, **fields)
        ack = await trial.observer.ack(command, FINAL, trial.limits.answer_s)
        require(
            ack is not None and ack["st"] == "rejected", f"{fields} was answered {(ack or {'st': 'not at all'})['st']}"
        )
    await _still_off(trial)


async def junk(trial: Trial) -> None:
    """Junk on the command topic does not stop the device from obeying the next command."""
    for payload in (b"", b"{", b"\xff\xfe", b"[]", b'"open"', b'{"v":1}', b'{"cmd":"x"}', b"9" * 5_000, b'{"a":' * 200):
        await trial.observer.publish_bytes(payload)
    await trial.move(trial.off)


async def closing(trial: Trial) -> None:
    """Close ends with the position it reached: closed, or armed where a person must confirm."""
    await trial.move(trial.off)
    command = await trial.send(trial.on)
    ack = await trial.end_of(command)
    require(ack["st"] in ("executed", "rejected"), f"a plain close ended {ack['st']}: {ack.get('reason', '')}")
    if ack["st"] == "executed":
        require(ack.get(trial.channel) in (trial.on, "armed"), f"executed at {ack.get(trial.channel)!r}")
    await trial.move(trial.off)


async def newest_wins(trial: Trial) -> None:
    """An open right behind a close wins, and the close has an end too."""
    await trial.move(trial.off)
    close, opened = await trial.send(trial.on), await trial.send(trial.off)
    ack = await trial.end_of(opened)
    require(ack["st"] == "executed", f"the open behind a close ended {ack['st']}: {ack.get('reason', '')}")
    await trial.end_of(close)
    await _still_off(trial)


async def memory_survives_restart(trial: Trial) -> None:
    """Fence and results survive a restart: what was executed before is not executed again."""
    assert trial.restart is not None
    command = await trial.move(trial.off)
    mark = trial.observer.mark
    await trial.restart()
    sid = (await _reborn(trial, mark))["sid"]
    require(sid != "", "the birth after the restart has no session")
    ack = await trial.end_of(await trial.observer.publish(command))
    require(ack["st"] == "executed", f"after the restart the same command was answered {ack['st']}")
    stale = await trial.end_of(await trial.send(trial.on, fence=command.body["fence"] - 1))
    require(stale["st"] == "rejected", f"after the restart a stale fence was answered {stale['st']}")
    await _still_off(trial)


async def new_session(trial: Trial) -> None:
    """A restart starts a new session, and birth tells the position that is real."""
    assert trial.restart is not None
    born = trial.observer.last("birth")
    mark = trial.observer.mark
    await trial.restart()
    again = await _reborn(trial, mark)
    require(born is None or again["sid"] != born.body["sid"], f"the session is still {again['sid']} after a restart")
    require(trial.channel in again, f"birth does not tell {trial.channel}")


async def offline_is_told(trial: Trial) -> None:
    """A device whose link is cut is reported offline by its will, in its session, and online when it is back."""
    assert trial.cut is not None
    mark = trial.observer.mark
    await trial.cut(3.0)
    gone = await trial.observer.wait(mark, "conn", lambda body: body.get("s") == "offline", 60.0)
    given(None if gone is None else gone.body, "no offline: the connection needs a will on conn")
    back = await trial.observer.wait(mark, "conn", lambda body: body.get("s") == "online", 60.0)
    given(None if back is None else back.body, "no online after the link came back")


async def stored_and_forwarded(trial: Trial) -> None:
    """Samples of the time without a link come later, marked hist, with the time at which they were taken."""
    assert trial.cut is not None
    mark = trial.observer.mark
    away_s = max(3.0, 2.5 * trial.limits.interval_s)
    from_ms = trial.observer.now_ms()
    await trial.cut(away_s)
    until_ms = trial.observer.now_ms()
    found = await trial.observer.wait(mark, "tele", lambda body: _has_history(body, from_ms, until_ms), 60.0)
    given(None if found is None else {}, f"no hist sample of the {away_s:g} s without a link")


def _has_history(body: Any, from_ms: int, until_ms: int) -> bool:
    samples = body if isinstance(body, list) else [body]
    return any(sample.get("hist") and from_ms <= sample.get("ts", 0) <= until_ms for sample in samples)


async def _reborn(trial: Trial, mark: int) -> dict[str, Any]:
    found = await trial.observer.wait(mark, "birth", lambda _body: True, 120.0)
    return given(None if found is None else found.body, "no birth within 120 s of the restart")


async def _still_off(trial: Trial) -> None:
    """Nothing has moved: after the time a contactor takes, state still says off."""
    await asyncio.sleep(min(trial.limits.travel_s, 1.5))
    position = trial.position()
    if position != trial.off:
        raise ClauseFailedError(f"{trial.channel} is {position!r} where it must stay {trial.off!r}")


def _clause(number: str, text: str, trial: Any, *needs: str) -> Clause:
    return Clause(number, text, trial, needs)


CLAUSES = (
    _clause("TM-201", "open is received, executed and answered with the position reached", opening),
    _clause("TM-202", "the retained state tells the new position and the fence", told_in_state),
    _clause("TM-203", "off means that nothing flows", nothing_flows),
    _clause("TM-211", "a repeated command is answered from memory and moves nothing", repeat),
    _clause("TM-212", "an old close that comes again does not undo a later open", repeat_after_another, "close"),
    _clause("TM-213", "a fence below the last executed one is refused", stale_fence),
    _clause("TM-214", "after its expiry a command is answered expired and does nothing", expired),
    _clause("TM-215", "a command without expiry is refused", without_expiry),
    _clause("TM-216", "unknown operations and targets are refused", unknown_words),
    _clause("TM-217", "junk on the command topic stops nothing", junk),
    _clause("TM-221", "close ends with the position it reached", closing, "close"),
    _clause("TM-222", "an open right behind a close wins, and both have an end", newest_wins, "close"),
    _clause("TM-231", "fence and results survive a restart", memory_survives_restart, "restart"),
    _clause("TM-232", "a restart starts a new session, and birth tells the real position", new_session, "restart"),
    _clause("TM-241", "a cut link is told by the will, its return by conn", offline_is_told, "cut"),
    _clause("TM-242", "samples taken without a link come later, marked hist", stored_and_forwarded, "cut"),
)
