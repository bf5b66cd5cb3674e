"""What a ledger that went back in time has lost, as the twins still know it."""

from __future__ import annotations

import msgspec


class LostLock(msgspec.Struct, frozen=True):
    """A person's lock that only the twin knows of."""

    breaker: str
    kind: str
    who: str
    why: str
    since: int
    until: int | None


class Loss(msgspec.Struct, frozen=True):
    """What SQL lacks of one group: acts `first` to `last`; `credits_nano` is what the twin had more than SQL has."""

    group: str
    tenant: str
    first: int
    last: int
    credits_nano: int
    locks: tuple[LostLock, ...] = ()
