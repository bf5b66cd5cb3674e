"""What SQL remembers of one breaker or valve: commands with their steps, changes of locks, positions it has told."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from adapters.store.sites.rebuild import in_list
from twin.core.breaker_why import CommandStep, PastCommand, PastLock, PastReport, SwitchHistory
from twin.core.valves import wire_target

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Row, Transaction

_COMMANDS = (
    "SELECT cmd, op, target, fence, state, issued, exp, why, reason FROM command"
    " WHERE site = ? AND device = ? AND issued <= ? ORDER BY fence DESC LIMIT ?"
)
_STEPS = "SELECT cmd, state, ts, reason FROM command_step WHERE site = ? AND ts <= ? AND cmd {names} ORDER BY id"
_LOCKS = (
    "SELECT lock, active, who, why, ts, rule, rule_version FROM lock_change"
    " WHERE site = ? AND breaker = ? AND ts <= ? ORDER BY id DESC LIMIT ?"
)
_REPORTS = (
    "SELECT relay, ts, cause FROM relay_report WHERE site = ? AND breaker = ? AND ts <= ? ORDER BY id DESC LIMIT ?"
)


class SqlSwitchings:
    """The `Switchings` port over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, site: str, device: str, op: str, *, until: int, limit: int) -> SwitchHistory:
        """The newest `limit` of each kind up to an instant (Unix ms), newest first; positions in the words of `op`."""
        async with self._database.snapshot() as tx:
            commands = await tx.fetch(_COMMANDS, site, device, until, limit)
            steps = await _steps(tx, site, [row[0] for row in commands], until)
            locks = await tx.fetch(_LOCKS, site, device, until, limit)
            reports = await tx.fetch(_REPORTS, site, device, until, limit)
        return SwitchHistory(
            tuple(_command(row, steps[row[0]]) for row in commands),
            tuple(PastLock(row[0], bool(row[1]), row[2], row[3], row[4], row[5], row[6]) for row in locks),
            tuple(PastReport(wire_target(op, row[0]), row[1], row[2]) for row in reports),
        )


async def _steps(tx: Transaction, site: str, commands: list[str], until: int) -> defaultdict[str, list[CommandStep]]:
    found: defaultdict[str, list[CommandStep]] = defaultdict(list)
    if commands:
        listed, value = in_list(tx, commands)
        for row in await tx.fetch(_STEPS.format(names=listed), site, until, value):
            found[row[0]].append(CommandStep(row[1], row[2], row[3]))
    return found


def _command(row: Row, steps: list[CommandStep]) -> PastCommand:
    """As it stood at the instant asked for: the last step until then is its state."""
    last = steps[-1] if steps else None
    return PastCommand(
        id=row[0],
        target=wire_target(row[1], row[2]),
        fence=row[3],
        state=last.state if last else row[4],
        issued=row[5],
        exp=row[6],
        why=msgspec.json.decode(row[7]),
        reason=last.reason if last else row[8],
        steps=tuple(steps),
    )
