"""A group being decided: copies what it touches, and collects effects.

The values given to `decide` are shared with the store's cache and with other decisions, so nothing of them may change.
A draft hands out a private copy of a twin the first time it is asked for it, and keeps the untouched ones as they are;
the store writes only what was copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twin.core.model import Group, duplicate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twin.core.effects import AnyEffect
    from twin.core.model import BreakerTwin, GatewayTwin, MeterTwin, Register, TenantTwin
    from twin.core.policy import SitePolicy
    from twin.core.traces import Traced


class Draft:
    """Mutable working copy of one group during one decision."""

    __slots__ = (
        "_copied",
        "_register",
        "effects",
        "group",
        "guards",
        "guards_asked",
        "guards_spent",
        "now",
        "policy",
        "supply_dirty",
        "traces",
        "wake_dirty",
    )

    def __init__(self, group: Group, policy: SitePolicy, guards: Mapping[str, int], now: int) -> None:
        self.group = duplicate(group)
        self.policy = policy
        self.now = now
        """Our own clock (Unix ms). Rules look at a sample at the instant of the sample, which may be minutes off."""
        self.effects: list[AnyEffect] = []
        self.guards = guards
        self.guards_asked = False
        """Whether some rule wanted to know how far its guard is used up: what was decided depends on `guards`."""
        self.traces: list[Traced] | None = [] if policy.trace else None
        self.guards_spent: dict[str, int] = {}
        self.wake_dirty = False
        self.supply_dirty = False
        self._copied: set[str] = set()
        self._register: Register | None = None

    def tenant(self) -> TenantTwin | None:
        """The tenant twin, private to this draft; None for a group without a tenant."""
        tenant = self.group.tenant
        if tenant is not None and "t" not in self._copied:
            self._copied.add("t")
            tenant = self.group.tenant = duplicate(tenant)
        return tenant

    def meter(self, device: str) -> MeterTwin:
        """A meter twin, private to this draft. Raises KeyError for a device that is no meter of this group."""
        key = "m" + device
        if key in self._copied:
            return self.group.meters[device]
        meter = duplicate(self.group.meters[device])
        if "M" not in self._copied:
            self._copied.add("M")
            self.group.meters = dict(self.group.meters)
        self._copied.add(key)
        self.group.meters[device] = meter
        return meter

    def register(self, meter: MeterTwin) -> Register:
        """The register of a meter that is private to this draft; private, too, and copied once as long as it is the
        same: judging, accepting and charging one reading share a copy."""
        register = meter.register
        if register is not self._register:
            register = meter.register = self._register = duplicate(register)
        return register

    def breaker(self, device: str) -> BreakerTwin:
        """A breaker twin, private to this draft. Raises KeyError for a device that is no breaker of this group."""
        key = "b" + device
        if key in self._copied:
            return self.group.breakers[device]
        breaker = duplicate(self.group.breakers[device])
        if "B" not in self._copied:
            self._copied.add("B")
            self.group.breakers = dict(self.group.breakers)
        self._copied.add(key)
        self.group.breakers[device] = breaker
        return breaker

    def gateway(self) -> GatewayTwin | None:
        """The gateway twin, private to this draft."""
        gateway = self.group.gateway
        if gateway is not None and "g" not in self._copied:
            self._copied.add("g")
            gateway = self.group.gateway = duplicate(gateway)
        return gateway

    def emit(self, effect: AnyEffect) -> None:
        """Ask the outside world for something."""
        self.effects.append(effect)

    def guard_used(self, rule: str) -> int:
        """Cutoffs already counted against a rule's guard: committed ones and those of this decision."""
        self.guards_asked = True
        return self.guards.get(rule, 0) + self.guards_spent.get(rule, 0)
