"""Breakages of the core, each a trap that systems are known to have fallen into. The explorer must find every one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from twin.core import acts, commands, decide, evidence, links, locks, outcomes
from twin.core.model import CloseIntent

if TYPE_CHECKING:
    from collections.abc import Callable

Break = pytest.MonkeyPatch


def no_fence(broken: Break) -> None:
    """Every command carries the same fence: the device cannot tell a late one."""
    real = commands.issue

    def issue(draft, breaker, *args, **more):
        real(draft, breaker, *args, **more)
        breaker.fence = 1
        breaker.command.fence = 1

    broken.setattr(commands, "issue", issue)
    broken.setattr(commands, "learn_fence", lambda *_: None)


def no_lock_check(broken: Break) -> None:
    """The release of one lock closes, whatever else stands."""
    real = locks.release

    def release(draft, device, kind, who, why, now, *more):
        done = real(draft, device, kind, who, why, now, *more)
        breaker = draft.breaker(device)
        if done and breaker.locks and breaker.relay == "open":
            breaker.close = CloseIntent({"reason": why}, now)
            commands.issue(draft, breaker, "closed", {"reason": why}, now)
        return done

    for module in (locks, evidence, acts):
        broken.setattr(module, "release", release)


def no_expiry(broken: Break) -> None:
    """A command that was lost is waited for and never given up."""
    broken.setattr(commands, "_expire", lambda *_: None)


def no_retry(broken: Break) -> None:
    """A command that failed is not tried again."""

    def back_off(_draft, breaker, _now):
        breaker.failures += 1

    broken.setattr(commands, "_back_off", back_off)


def toggle_on_key(broken: Break) -> None:
    """What somebody moved on site is moved back."""
    real = evidence._moved_on_site

    def moved(draft, breaker, relay, now, cause):
        real(draft, breaker, relay, now, cause)
        back = "open" if relay == "closed" else "closed"
        if (back == "open") == bool(breaker.locks):
            commands.issue(draft, breaker, back, {"reason": cause}, now)

    broken.setattr(evidence, "_moved_on_site", moved)


def money_releases_all(broken: Break) -> None:
    """A top-up takes off whatever stands."""
    real = outcomes._unlock

    def unlock(draft, breaker, kind, rule, view, timing, now):
        real(draft, breaker, kind, rule, view, timing, now)
        for other in list(draft.group.breakers[breaker].locks):
            locks.release(draft, breaker, other, "rule", rule.id, now, {"rule": rule.id, "ver": rule.version})

    broken.setattr(outcomes, "_unlock", unlock)


def no_word_on_return(broken: Break) -> None:
    """A device that comes back is not told what became true while it was away."""
    broken.setattr(links, "redecide", lambda *_: None)
    broken.setattr(links, "reconcile", lambda *_: None)
    broken.setattr(evidence, "reconcile", lambda *_: None)


def fence_not_learnt(broken: Break) -> None:
    """After a rebuild the fences start again from what SQL knows, and the device's own word is not heard."""
    broken.setattr("twin.core.revival.FENCE_LEAP", 0)
    broken.setattr(commands, "learn_fence", lambda *_: None)
    broken.setattr(links, "learn_fence", lambda *_: None)
    broken.setattr(decide, "learn_fence", lambda *_: None)


def wish_outlives_all(broken: Break) -> None:
    """A wish to close is kept when a lock is placed or a hand has moved the breaker."""
    real = evidence._moved_on_site

    def moved(draft, breaker, relay, now, cause):
        real(draft, breaker, relay, now, cause)
        if relay == "open" and not breaker.locks:
            breaker.close = CloseIntent({"reason": "old"}, now)

    broken.setattr(evidence, "_moved_on_site", moved)


MUTANTS: tuple[Callable[[Break], None], ...] = (
    no_fence,
    no_lock_check,
    no_expiry,
    no_retry,
    toggle_on_key,
    money_releases_all,
    no_word_on_return,
    fence_not_learnt,
    wish_outlives_all,
)
