"""When a second person is needed: the section `approval` of a site's settings, with its defaults.

A limit is an amount of money: an act above it needs a second person, one at or below it does not. `"0"` therefore means
always. What is not an amount is yes or no.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from billing.money import parse_money
from schemas.durations import parse_duration

if TYPE_CHECKING:
    from adapters.store.engine.database import Transaction

DEFAULTS: Final[dict[str, Any]] = {
    "refund_above": "0",
    "correction_above": "100.00",
    "manual_above": "100.00",
    "transfer_above": "100.00",
    "write_off_above": "0",
    "supply_guarantee": True,
    "estimated_gap": True,
    "bulk_above": 20,
    "expires": "72h",
}
"""What holds where the site file says nothing."""


class ApprovalPolicy(msgspec.Struct, frozen=True):
    """The settings of one site, completed by the defaults."""

    settings: dict[str, Any]

    def above(self, limit: str, amount_nano: int) -> bool:
        """Whether an amount (nano-units, its sign does not matter) is above a limit such as `refund_above`."""
        return abs(amount_nano) > parse_money(self.settings[limit])

    def always(self, what: str) -> bool:
        """Whether an act such as `supply_guarantee` needs a second person."""
        return bool(self.settings[what])

    def beyond(self, limit: str, count: int) -> bool:
        """Whether more things at once than a limit such as `bulk_above` are meant."""
        return bool(count > self.settings[limit])

    @property
    def expires_ms(self) -> int:
        """How long a request stays open."""
        return parse_duration(self.settings["expires"])


async def site_settings(tx: Transaction, site: str) -> dict[str, Any]:
    """The settings of a site. Raises LookupError for a site that was never imported."""
    rows = await tx.fetch("SELECT settings FROM site WHERE id = ?", site)
    if not rows:
        raise LookupError(f"site {site!r} is not in the database; import its site file first")
    settings: dict[str, Any] = msgspec.json.decode(rows[0][0])
    return settings


async def approval_policy(tx: Transaction, site: str) -> ApprovalPolicy:
    """The policy of a site. Raises LookupError for a site that was never imported."""
    return ApprovalPolicy({**DEFAULTS, **(await site_settings(tx, site)).get("approval", {})})
