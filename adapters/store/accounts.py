"""Names of accounts, and which way money runs through them.

Sign convention: legs of a journal sum to zero. A positive leg on a wallet is money of the tenant coming in, a negative
one money going out; the other side stands on

* `revenue:<utility>` for charges (positive there: what the wallet lost),
* `clearing:<channel>` for payments (negative there: what the channel owes us),
* `opening:equity` for opening credits.

Energy that nobody pays for is charged to `landlord:vacancy`, so that a chain never pauses.
"""

from __future__ import annotations

OPENING_EQUITY = "opening:equity"
VACANCY = "landlord:vacancy"


def wallet(tenant: str) -> str:
    """The prepaid account of a tenant; the landlord's where there is none."""
    return f"tenant:{tenant}:wallet" if tenant else VACANCY


def revenue(utility: str) -> str:
    """What charges for a utility earn."""
    return f"revenue:{utility}"


def clearing(channel: str) -> str:
    """What a payment channel has taken for us."""
    return f"clearing:{channel}"
