"""Names of accounts, and which way money runs through them.

Sign convention: legs of a journal sum to zero. A positive leg on a wallet is money of the tenant coming in, a negative
one money going out; every other account is the other side of that:

| account | positive means | negative means |
|---|---|---|
| `tenant:<id>:wallet` | the tenant has prepaid | the tenant is in arrears |
| `landlord:vacancy` | never | what vacant supplies have used, for the landlord to bear |
| `revenue:<utility>` | earned by charges | given back by adjustments |
| `clearing:<channel>` | paid out to payers by the channel | taken in by the channel for us |
| `payable:refunds` | set aside for refunds that are not paid out yet | never |
| `debt:<id>` | never | what the tenant owes beside the wallet |
| `deposit:<id>` | a deposit that the tenant owes or has paid | never |
| `transfers` | never: it is empty after every transfer | never |
| `adjustments` | what people took from wallets by hand | what people gave |
| `write-off` | never | claims given up |
| `rounding` | less than a cent kept at a closing | less than a cent given |
| `opening:equity` | opening debts | opening credits |

Energy that nobody pays for is charged to `landlord:vacancy`, so that a chain never pauses.
"""

from __future__ import annotations

OPENING_EQUITY = "opening:equity"
VACANCY = "landlord:vacancy"
ADJUSTMENTS = "adjustments"
WRITE_OFF = "write-off"
ROUNDING = "rounding"
TRANSFERS = "transfers"
REFUNDS_PAYABLE = "payable:refunds"


def wallet(tenant: str) -> str:
    """The prepaid account of a tenant; the landlord's where there is none."""
    return f"tenant:{tenant}:wallet" if tenant else VACANCY


def revenue(utility: str) -> str:
    """What charges for a utility earn."""
    return f"revenue:{utility}"


def clearing(channel: str) -> str:
    """What a payment channel has taken for us."""
    return f"clearing:{channel}"


def debt(tenant: str) -> str:
    """What a tenant owes beside the wallet."""
    return f"debt:{tenant}"


def deposit(tenant: str) -> str:
    """A deposit that a tenant owes or has paid."""
    return f"deposit:{tenant}"
