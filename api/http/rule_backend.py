"""What routes about rules need from the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twin.flows.policies import CompiledPolicies
    from twin.recorded import History, Past, RuleBook, Shadows


class RuleBackend(Protocol):
    """Versions of rules, the recorded past, and shadow runs."""

    @property
    def policies(self) -> CompiledPolicies: ...
    @property
    def rule_book(self) -> RuleBook: ...
    @property
    def shadows(self) -> Shadows: ...
    @property
    def history(self) -> History: ...
    @property
    def past(self) -> Past: ...
    @property
    def skew_ms(self) -> int | None: ...
