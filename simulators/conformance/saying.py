"""Clauses about what a device says: who it is, that it is there, and what it measures."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from schemas.registry import problems
from simulators.conformance.clause import Clause, ClauseSkippedError, Trial, given, require

REGISTERS = ("import_wh", "volume_l")


def _newest(trial: Trial, verb: str) -> dict[str, Any]:
    heard = trial.observer.last(verb)
    require(heard is not None, f"no {verb} message: it must be published retained, so that a late listener has it")
    assert heard is not None
    found = problems(verb, heard.body)
    require(not found, f"{verb} is not by the schema: {'; '.join(map(str, found[:3]))}")
    return dict(heard.body)


async def birth(trial: Trial) -> None:
    """The device introduces itself."""
    body = _newest(trial, "birth")
    behind_ms = abs(trial.observer.now_ms() - body["ts"])
    year_ms = 366 * 86_400_000
    require(behind_ms < year_ms, f"birth has ts {body['ts']}, {behind_ms // 1000} s from now: is the clock set?")


async def connection(trial: Trial) -> None:
    """The device says that it is online, in the session of its birth."""
    conn, born = _newest(trial, "conn"), _newest(trial, "birth")
    require(conn["s"] == "online", "conn says offline while the device is being tested")
    require(conn["sid"] == born["sid"], f"conn is of session {conn['sid']}, birth of {born['sid']}")


async def state(trial: Trial) -> None:
    """The device says where its relay or valve stands."""
    body = _newest(trial, "state")
    require("relay" in body or "valve" in body, "state carries neither relay nor valve")


async def telemetry(trial: Trial) -> None:
    """Samples come by themselves and are by the schema."""
    samples = await _samples(trial, 1)
    require(bool(samples), f"no sample within {trial.limits.interval_s:g} s")


async def sample_time(trial: Trial) -> None:
    """A live sample is of now."""
    for sample in await _samples(trial, 1):
        away_ms = abs(trial.observer.now_ms() - sample["ts"])
        require(
            sample.get("hist", False) or away_ms <= trial.limits.skew_ms,
            f"a live sample is {away_ms // 1000} s away from now; set the clock, or mark stored samples hist",
        )


async def sequence(trial: Trial) -> None:
    """Numbers grow by one within a session."""
    samples = await _samples(trial, 3)
    for before, after in pairwise(samples):
        if before["sid"] == after["sid"]:
            require(after["seq"] == before["seq"] + 1, f"seq went from {before['seq']} to {after['seq']}")


async def register(trial: Trial) -> None:
    """Cumulative registers never fall."""
    samples = await _samples(trial, 3)
    values = [(name, sample["d"][name]) for sample in samples for name in REGISTERS if name in sample["d"]]
    if not values:
        raise ClauseSkippedError("the device measures nothing (no import_wh, no volume_l)")
    for (name, before), (_, after) in pairwise(values):
        require(after >= before, f"{name} fell from {before} to {after}")


async def relay_in_samples(trial: Trial) -> None:
    """Samples and state tell the same position."""
    for sample in await _samples(trial, 1):
        told = sample["d"].get(trial.channel)
        if told is None:
            raise ClauseSkippedError(f"samples carry no {trial.channel}")
        require(told == trial.position(), f"the sample says {told}, state says {trial.position()}")


async def _samples(trial: Trial, count: int) -> list[dict[str, Any]]:
    """So many of the newest samples, waiting for them where fewer were heard."""
    found = _valid_samples(trial)
    while len(found) < count:
        mark = trial.observer.mark
        news = await trial.observer.wait(mark, "tele", lambda _body: True, trial.limits.interval_s * 1.5)
        given(None if news is None else {}, f"no sample within {trial.limits.interval_s * 1.5:g} s")
        found = _valid_samples(trial)
    return found[-count:]


def _valid_samples(trial: Trial) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = []
    for heard in trial.observer.since(0, "tele"):
        found = problems("tele", heard.body)
        require(not found, f"tele is not by the schema: {'; '.join(map(str, found[:3]))}")
        samples += heard.body if isinstance(heard.body, list) else [heard.body]
    return samples


CLAUSES = (
    Clause("TM-101", "birth is retained, by the schema and of a plausible time", birth),
    Clause("TM-102", "conn is retained, says online and names the session of birth", connection),
    Clause("TM-103", "state is retained and tells where relay or valve stands", state),
    Clause("TM-111", "samples come by themselves and are by the schema", telemetry),
    Clause("TM-112", "a live sample carries the time at which it was taken", sample_time),
    Clause("TM-113", "seq grows by one from sample to sample within a session", sequence),
    Clause("TM-114", "cumulative registers never fall", register),
    Clause("TM-115", "samples and state tell the same position", relay_in_samples),
)
