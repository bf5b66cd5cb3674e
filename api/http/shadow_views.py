"""A shadow run as people see it: counts of both sides, and where they differ."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from api.http.rule_bodies import ShadowBody
from twin.flows.replay_compare import compare_findings

if TYPE_CHECKING:
    from twin.recorded import Shadow, Shadows

MOST_DIFFERENCES = 200


async def shadow_body(shadows: Shadows, shadow: Shadow) -> ShadowBody:
    """The run with its findings put beside each other; the most important differences first."""
    findings = await shadows.findings(shadow.id)
    active = [found for side, found in findings if side == "active"]
    candidate = [found for side, found in findings if side == "candidate"]
    compared = compare_findings(active, candidate)
    return ShadowBody(
        shadow=shadow,
        active=dict(Counter(found.kind for found in active)),
        candidate=dict(Counter(found.kind for found in candidate)),
        differences=compared.differences[:MOST_DIFFERENCES],
        differences_total=len(compared.differences),
    )
