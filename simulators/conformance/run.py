"""Run the kit against one device: every clause in order, a readable report, and an exit code for a build.

The device is named by a URL: `mqtt://[user:password@]broker[:port]/SITE/DEVICE`. Exit codes: 0 every clause that was
tried holds, 1 one does not, 2 the kit could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import aiomqtt
import msgspec

from schemas.clock_spec import ClockSpec, anchored, parse_clock_spec
from schemas.topics import checked_id
from simulators.broker import Broker, negotiate, parse_broker
from simulators.conformance import configuring, obeying, saying
from simulators.conformance.clause import Clause, ClauseFailedError, ClauseSkippedError, Finding, Limits, Trial
from simulators.conformance.link import Link, open_link
from simulators.conformance.observer import observing

CLAUSES: tuple[Clause, ...] = (*saying.CLAUSES, *obeying.CLAUSES, *configuring.CLAUSES)
_LACKING = {
    "close": "closing is not allowed here (--allow-close)",
    "restart": "the kit does not know how to restart the device (--restart COMMAND)",
    "cut": "the kit is not on the device's link (--link HOST:PORT, and the device connected there)",
}
_GATHER_S = 2.0


class Target(msgspec.Struct, frozen=True):
    """The device under test and how the kit may treat it. `clock` is the clock that device and kit share."""

    url: str
    clock: ClockSpec = ClockSpec("real")
    limits: Limits = Limits()
    may_close: bool = False
    restart: str | None = None
    link: str | None = None
    only: tuple[str, ...] = ()
    seed: int = 0


def parse_target(url: str) -> tuple[Broker, str, str]:
    """Broker, site and device of a URL. Raises ValueError for one that does not name them."""
    ids = urlsplit(url).path.strip("/").split("/")
    if len(ids) != 2:
        raise ValueError("the URL must end with the site and the device: mqtt://127.0.0.1:1883/park-1/em-001")
    return parse_broker(url), checked_id(ids[0], "site"), checked_id(ids[1], "device")


async def examine(
    target: Target,
    *,
    restart: Callable[[], Awaitable[None]] | None = None,
    told: Callable[[Finding], object] = lambda _finding: None,
) -> list[Finding]:
    """Try every clause on a device; `told` hears of each finding as it is made.

    `restart` replaces the target's restart command. Raises ValueError for a URL, clause or link that cannot be,
    OSError or aiomqtt.MqttError where the broker cannot be reached.
    """
    broker, site, device = parse_target(target.url)
    unknown = set(target.only) - {clause.number for clause in CLAUSES}
    if unknown:
        raise ValueError(f"no clause {', '.join(sorted(unknown))}; --list shows them")
    broker = await negotiate(broker, f"conformance-{device}", asyncio.Event())
    if restart is None and target.restart:
        restart = _by_command(target.restart)
    if target.link is None:
        return await _examine(target, broker, site, device, restart, None, told)
    async with open_link(target.link, broker.host, broker.port) as link:
        return await _examine(target, broker, site, device, restart, link, told)


async def _examine(
    target: Target, broker: Broker, site: str, device: str, restart: Any, link: Link | None, told: Any
) -> list[Finding]:
    findings: list[Finding] = []
    async with observing(broker, site, device, target.clock, target.seed) as observer:
        trial = Trial(
            observer,
            target.limits,
            may_close=target.may_close,
            restart=restart,
            cut=link.cut if link is not None else None,
        )
        await observer.wait(0, "birth", lambda _body: True, 60.0 if link is not None else _GATHER_S)
        await asyncio.sleep(_GATHER_S)
        for clause in CLAUSES:
            if not target.only or clause.number in target.only:
                findings.append(await _try(clause, trial))
                told(findings[-1])
    return findings


async def _try(clause: Clause, trial: Trial) -> Finding:
    able = {"close": trial.may_close, "restart": trial.restart is not None, "cut": trial.cut is not None}
    lacking = [_LACKING[need] for need in clause.needs if not able[need]]
    if lacking:
        return Finding(clause.number, clause.text, "skipped", lacking[0])
    moves = clause in obeying.CLAUSES
    if moves and trial.position() is None:
        return Finding(clause.number, clause.text, "skipped", "the device switches nothing: it tells no relay or valve")
    try:
        await clause.trial(trial)
    except ClauseSkippedError as reason:
        return Finding(clause.number, clause.text, "skipped", str(reason))
    except ClauseFailedError as reason:
        return Finding(clause.number, clause.text, "failed", str(reason))
    return Finding(clause.number, clause.text, "passed")


def _by_command(command: str) -> Callable[[], Awaitable[None]]:
    async def restart() -> None:
        process = await asyncio.create_subprocess_shell(command)
        code = await process.wait()
        if code:
            raise ClauseSkippedError(f"the restart command ended with {code}")

    return restart


def junit(target: str, findings: Sequence[Finding]) -> str:
    """The findings as JUnit XML, for build servers."""
    suite = ElementTree.Element("testsuite", name=f"conformance {target}", tests=str(len(findings)))
    for finding in findings:
        case = ElementTree.SubElement(suite, "testcase", classname=finding.number, name=finding.text)
        if finding.verdict != "passed":
            kind = "failure" if finding.verdict == "failed" else "skipped"
            ElementTree.SubElement(case, kind, message=finding.seen)
    suite.set("failures", str(sum(finding.verdict == "failed" for finding in findings)))
    suite.set("skipped", str(sum(finding.verdict == "skipped" for finding in findings)))
    return ElementTree.tostring(suite, encoding="unicode")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conformance", description="Does a device keep the wire contract?")
    parser.add_argument("url", nargs="?", help="mqtt://[user:password@]broker[:port]/SITE/DEVICE")
    parser.add_argument("--list", action="store_true", help="list the clauses and end")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TM-nnn", help="try this clause alone; repeatable"
    )
    parser.add_argument(
        "--allow-close", action="store_true", help="the kit may close the device: nobody works behind it"
    )
    parser.add_argument("--restart", metavar="COMMAND", help="shell command that restarts the device")
    parser.add_argument("--link", metavar="HOST:PORT", help="listen here; the device connects here and its link is cut")
    parser.add_argument("--interval", type=float, default=900.0, help="seconds between the device's samples")
    parser.add_argument("--travel", type=float, default=10.0, help="seconds a contactor or valve may travel")
    parser.add_argument("--answer", type=float, default=5.0, help="seconds until a first answer")
    parser.add_argument("--clock", default="real", help="as TWINMETER_CLOCK, for simulated devices")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings here")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the findings here as JUnit XML")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the kit; see the module."""
    options = _options(argv)
    if options.list:
        sys.stdout.write("".join(f"{clause.number}  {clause.text}\n" for clause in CLAUSES))
        return 0
    if not options.url:
        sys.stderr.write("conformance: name the device: mqtt://127.0.0.1:1883/park-1/em-001\n")
        return 2
    try:
        target = Target(
            url=options.url,
            clock=anchored(parse_clock_spec(options.clock), time.time_ns() // 1_000_000),
            limits=Limits(answer_s=options.answer, travel_s=options.travel, interval_s=options.interval),
            may_close=options.allow_close,
            restart=options.restart,
            link=options.link,
            only=tuple(options.only),
            seed=time.time_ns(),
        )
        findings = asyncio.run(examine(target, told=_tell))
    except (ValueError, OSError, aiomqtt.MqttError) as error:
        sys.stderr.write(f"conformance: {error}\n")
        return 2
    return _report(options, findings)


def _tell(finding: Finding) -> None:
    seen = f"\n        {finding.seen}" if finding.seen else ""
    sys.stdout.write(f"{finding.verdict:>7}  {finding.number}  {finding.text}{seen}\n")
    sys.stdout.flush()


def _report(options: argparse.Namespace, findings: Sequence[Finding]) -> int:
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(findings), indent=2))
    if options.junit is not None:
        options.junit.write_text(junit(options.url, findings))
    tally = {
        verdict: sum(finding.verdict == verdict for finding in findings) for verdict in ("passed", "failed", "skipped")
    }
    sys.stdout.write(f"{tally['passed']} passed, {tally['failed']} failed, {tally['skipped']} skipped\n")
    return 1 if tally["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
