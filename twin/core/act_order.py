"""The order of acts: each carries its group's next number, and is applied once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin.core.messages import Act
    from twin.core.model import Group


class ActOutOfOrderError(Exception):
    """An act came before one that precedes it; deliver the earlier ones first."""


def is_new(group: Group, act: Act) -> bool:
    """Whether the group lacks the act. Raises ActOutOfOrderError where it also lacks one before it."""
    if act.seq <= group.acts_seq:
        return False
    if act.seq > group.acts_seq + 1:
        raise ActOutOfOrderError(f"group {group.id} has acts up to {group.acts_seq}, got {act.seq}")
    return True
