"""What goes in and comes out of the routes of meters. Readings are what the device shows; instants are Unix ms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from api.http.numbers import LARGEST, LAST_INSTANT
from api.http.requests import Reason

Shown = Annotated[
    int, msgspec.Meta(ge=0, le=9_007_199_254_740_992, description="As the device shows it, Wh or litres.")
]
Instant = Annotated[int, msgspec.Meta(gt=0, le=LAST_INSTANT, description="Unix ms.", examples=[1_767_225_600_000])]
Ratio = Annotated[int, msgspec.Meta(ge=1, le=1_000_000, description="Current times voltage transformer.")]
Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the photo.")]


class ReadingRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A reading that a person took, with the photo that shows it: a URL or the number of a document."""

    reading: Shown
    ts: Instant
    reason: Reason
    photo: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    photo_sha256: Digest | None = None


class RegisterRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Another register at one instant: the last reading of the old one (left out where nobody knows it) and the first
    of the new one."""

    ts: Instant
    opening: Shown
    reason: Reason
    final: Shown | None = None
    final_estimated: bool = False
    rolled: Annotated[bool, msgspec.Meta(description="The old register went through zero before its end.")] = False
    device: Id | None = None
    ratio: Ratio | None = None
    digits: (
        Annotated[int, msgspec.Meta(ge=1000, le=10**15, description="The new display wraps to zero here.")] | None
    ) = None
    imax_a: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    photo: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    photo_sha256: Digest | None = None


class RatioRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Other transformers, with the reading at that instant where somebody took it."""

    ratio: Ratio
    ts: Instant
    reason: Reason
    reading: Shown | None = None


class DecisionRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A person's word on a doubtful reading, named by its identity. An estimate needs a reading."""

    meter: Id
    ts: Instant
    sid: Annotated[str, msgspec.Meta(max_length=64)]
    seq: Annotated[int, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
    decision: Literal["accept", "reject", "estimate"]
    reason: Reason
    reading: Shown | None = None


class HandoverRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """From whom to whom; left out, it is the landlord. Without `meters`, all that the first one has."""

    at: Instant
    reason: Reason
    from_tenant: Id | None = None
    to_tenant: Id | None = None
    meters: Annotated[list[Id], msgspec.Meta(max_length=500)] = []
    readings: Annotated[dict[str, Shown], msgspec.Meta(description="Readings at that instant by meter.")] = {}
    tariff: Annotated[str, msgspec.Meta(max_length=64, description="Of the new supplies; the former one's.")] | None = (
        None
    )


class MeterAct(msgspec.Struct, kw_only=True):
    """What came of an act: `done` with its facts, or `requested`, with the approval it waits for."""

    state: Literal["done", "requested"]
    approval: str | None = None
    facts: dict[str, Any] = {}


class DoubtfulReading(msgspec.Struct, kw_only=True):
    """A reading that was not believed. `head` is the primary quantity the register stood at."""

    id: int
    meter: str
    epoch: int
    reading: int
    ts: int
    sid: str
    seq: int
    reason: str
    head: int
    decision: str | None = None
    decided_reading: int | None = None
    overtaken: bool | None = None
    who: str | None = None
    why: str | None = None
    decided_ts: int | None = None


class ReviewPage(msgspec.Struct):
    """Doubtful readings, newest first."""

    items: list[DoubtfulReading]
    next: str | None = None


class MeterEvent(msgspec.Struct, kw_only=True):
    """An act of a person on a meter; `ts` is the instant it is about, `made_ts` when it was entered."""

    id: int
    meter: str
    kind: str
    ts: int
    body: dict[str, Any]
    who: str
    why: str
    made_ts: int


class MeterEventPage(msgspec.Struct):
    """Acts on a meter, newest first."""

    items: list[MeterEvent]
    next: str | None = None


class Handover(msgspec.Struct, kw_only=True):
    """One meter of a hand-over: `releasing`, `taking` or `done`. A group is a tenant, or `@` and a device."""

    id: int
    handover: str
    meter: str
    breaker: str | None = None
    from_group: str
    to_group: str
    at: int
    who: str
    why: str
    ts: int
    state: str
    changed_ts: int


class HandoverPage(msgspec.Struct):
    """Hand-overs, newest first."""

    items: list[Handover]
    next: str | None = None
