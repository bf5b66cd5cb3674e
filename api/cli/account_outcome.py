"""What the commands of `twinmeter accounts` share: carrying an act out here or through the API, telling the outcome."""

from __future__ import annotations

import json as json_text
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from api.cli.errors import WrongUsageError
from api.cli.language import tell
from api.cli.on_site import Place, caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from api.bootstrap import Platform
    from twin.ports import Outcome


def act_on(
    place: Place,
    path: tuple[str, ...],
    body: dict[str, Any],
    said: tuple[str, str | None],
    near_act: Callable[..., Awaitable[Outcome]],
    *,
    charges_of: str = "",
) -> None:
    """Carry an act out, here or through the API, and tell what came of it.

    `charges_of`: the act spends balance of this tenant, so it must know what the twin has charged and not posted yet.
    """
    why, key = said
    key = key or uuid.uuid4().hex

    async def near(platform: Platform, site: str) -> Any:
        from api.http.account_bodies import act_body
        from api.http.acts import deliver

        seen = {"charges_nano": await _charges(platform, site, charges_of)} if charges_of else {}
        outcome = await near_act(platform.accounts, site, caller(why, key, platform.clock.now()), **seen)
        for pending in outcome.acts:
            await deliver(platform, pending)
        return msgspec.to_builtins(act_body(outcome.body))

    sent = {**body, "reason": why}
    tell_outcome(place, place.ask(lambda far: far.post(*path, body=sent, key=key), near))


async def _charges(platform: Platform, site: str, tenant: str) -> int | None:
    from api.http.backend import group_of_tenant

    group = await group_of_tenant(platform, site, tenant)
    return group.tenant.charges_nano if group is not None and group.tenant is not None else None


def tell_outcome(place: Place, done: dict[str, Any]) -> None:
    """Print what came of an act, a fact a line."""
    if place.json:
        print(json_text.dumps(done, ensure_ascii=False, indent=2))
        return
    if done.get("state") == "requested":
        asked = done["approval"]
        print(tell(f"已提交审批 {asked}，须由他人同意", f"request {asked} waits for a second person"))
    for name, value in done.items():
        if name not in ("state", "approval"):
            print(f"{name}: {json_text.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value}")


def nano_of(text: str) -> int:
    """Nano-units of an amount in whole cents above zero. Raises WrongUsageError."""
    from billing.money import NANO_PER_CENT, MoneyError, parse_money

    try:
        nano = parse_money(text)
    except MoneyError as error:
        raise WrongUsageError(str(error)) from None
    if nano <= 0 or nano % NANO_PER_CENT:
        raise WrongUsageError(f"{text} is not more than zero in whole cents")
    return nano
