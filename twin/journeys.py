"""Journeys: one id by which a message is followed from its receipt to its journal number and its command.

The id of a message is `SITE/DEVICE/SID/SEQ`, exactly what its sender numbered it by; a person's act is
`SITE/act/GROUP/SEQ`, everything else is named by what it says of itself. It travels with the effects that the message
led to (`Caused`, the last effect of its entry), so whoever deals with them later, in whatever process, knows it.

Nobody who follows journeys is needed for anything: with none there is no id, no effect, and no cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twin.core import messages as m

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twin.ports import Entry

MOST_IDS = 200
"""More messages of one group in one batch are named by their newest: the ones that decided what came of it."""


class Journeys(Protocol):
    """Somebody who follows messages: in the log, as traces, or both."""

    def wants(self, message: str) -> bool:
        """Whether this id is followed; the same answer in every process."""
        ...

    def step(self, stage: str, ids: Sequence[str], *, began_ns: int, ended_ns: int, **facts: Any) -> None:
        """Messages have come a step further: `stage` in a word, when it began and ended (Unix ns), what is known."""
        ...

    def close(self) -> None:
        """Send what is waiting to be sent."""
        ...


def message_id(site: str, group: str, message: m.Message, now: int) -> str:
    """The id of a message; `now` (Unix ms) tells apart what has no number of its own."""
    if isinstance(message, m.Telemetry | m.DeviceEvent):
        return f"{site}/{message.device}/{message.sid}/{message.seq}"
    if isinstance(message, m.CommandAnswered | m.CommandSent):
        return f"{site}/cmd/{message.cmd}"
    if isinstance(message, m.StateReported | m.ConnectionChanged | m.Birth):
        return f"{site}/{message.device}/{message.sid}/{type(message).__name__.lower()}-{message.ts}"
    seq = getattr(message, "seq", None)
    if seq is not None:
        return f"{site}/act/{group}/{seq}"
    return f"{site}/{type(message).__name__.lower()}/{group}/{now}"


def wanted_ids(journeys: Journeys, site: str, group: str, timed: Iterable[tuple[m.Message, int]]) -> tuple[str, ...]:
    """The ids of a group's messages that are followed, at most the newest 200."""
    ids = (message_id(site, group, message, now) for message, now in timed)
    return tuple(name for name in ids if journeys.wants(name))[-MOST_IDS:]


def ids_of(entry: Entry) -> tuple[str, ...]:
    """The messages that led to an entry of the effect stream; none where nobody follows them."""
    return next((effect.ids for effect in reversed(entry.effects) if type(effect).__name__ == "Caused"), ())  # type: ignore[union-attr]
