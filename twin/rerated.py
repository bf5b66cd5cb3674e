"""What rating a meter again found and did: what flows, screens and settlement are told of it."""

from __future__ import annotations

import msgspec

from twin.ports import PendingAct


class Rerated(msgspec.Struct, frozen=True):
    """One meter that was rated again. Amounts in nano-units.

    `batch` is the number of its first adjustment, 0 where none was due; `moved` is what each account got back
    (negative: was charged on top). `strays` are late readings that contradict their neighbours and wait for a person.
    `trouble` says why the meter could not be rated; then nothing was changed.
    """

    site: str
    meter: str
    from_ts: int = 0
    batch: int = 0
    adjustments: int = 0
    quantity: int = 0
    moved: dict[str, int] = {}
    strays: int = 0
    trouble: str = ""
    acts: tuple[PendingAct, ...] = ()
