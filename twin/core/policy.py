"""What a site has agreed for all its twins: zone, posting interval, tariffs, rules and limits of belief."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from billing.tariff import Tariff
    from rules.ruleset import Ruleset


class SitePolicy(msgspec.Struct, frozen=True):
    """Shared, immutable context of every decision at one site."""

    site: str
    zone: ZoneInfo
    currency: str
    interval_ms: int
    tariffs: Mapping[str, Tariff]
    rulesets: tuple[Ruleset, ...]
    params: Mapping[str, str | int | bool] = {}
    """Site-wide overrides of rule parameters (site < tenant < device)."""
    skew_ms: int | None = 300_000
    """How far a device's clock may be ahead of ours; None when time itself follows telemetry."""
    tolerance_milli: int = 1_200
    """Plausibility: a register may grow by at most max_rate * time * tolerance / 1000, plus `slack`."""
    slack: int = 10
    """Smallest register step that is always plausible, Wh or litres (one digit of the display)."""
    reset_after: int = 3
    """So many consistent readings below the head open a new epoch with reason `reset`."""
    version: str = ""
    """Changes whenever tariffs, rules or params do, so a cached policy can be told from a new one."""
