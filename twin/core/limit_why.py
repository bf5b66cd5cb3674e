"""The load limit of a circuit as people ask for it: how much, and who keeps it, the device or the platform alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from twin.core.configuration import limit_of

if TYPE_CHECKING:
    from twin.core.model import Group


class LoadLimit(msgspec.Struct, frozen=True, omit_defaults=True):
    """The load limit of a circuit, and whether the device keeps it by itself.

    `limit_w` is None where it was taken off and the device has not confirmed that. `kept_by`: the `device`, which
    confirmed version `ver` at `taken_at`; `waiting` for its word since `issued`, sent so often (`tries`); or the
    `platform` alone.
    """

    limit_w: int | None
    kept_by: Literal["device", "waiting", "platform"]
    ver: int | None = None
    issued: int | None = None
    taken_at: int | None = None
    tries: int = 0


def load_limit(group: Group, device: str) -> LoadLimit | None:
    """The limit of a breaker; None where there is none and the device knows of none."""
    limit, cfg = limit_of(group, device), group.breakers[device].cfg
    if cfg is None or (limit is not None and not cfg.settings):
        return None if limit is None else LoadLimit(limit, "platform")
    if limit is None and cfg.taken_at is not None:
        return None
    kept_by: Literal["device", "waiting"] = "waiting" if cfg.taken_at is None else "device"
    return LoadLimit(limit, kept_by, cfg.ver, cfg.issued, cfg.taken_at, cfg.tries)
