"""`twinmeter accounts refund|debt|deposit-return ...`: money on its way back, and what is owed beside the wallet."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.account_outcome import act_on, nano_of
from api.cli.on_site import Key, Place, Why, on_site

Tenant = Annotated[str, typer.Argument(help="Id of the tenant.")]
Amount = Annotated[str, typer.Argument(help="Such as 50.00.")]
Refund = Annotated[str, typer.Argument(help="Id of the refund, such as R12.")]
Debt = Annotated[str, typer.Argument(help="Id of the debt, such as D12.")]


@on_site
def refund(
    place: Place,
    tenant: Tenant,
    payment: Annotated[str, typer.Argument(help="Payment it goes back to, such as P12.")],
    amount: Amount,
    why: Why,
    key: Key = None,
) -> None:
    """Set a refund (退费) aside: it leaves the wallet now and is paid out once it is agreed to."""
    body = {"tenant": tenant, "payment": payment, "amount_nano": nano_of(amount), "channel": ""}
    act_on(
        place,
        ("tenants", tenant, "refunds"),
        {"payment": payment, "amount": amount},
        (why, key),
        lambda desk, site, by, **seen: desk.refund(site, body, by, **seen),
        charges_of=tenant,
    )


@on_site
def refund_paid(
    place: Place,
    tenant: Tenant,
    refund: Refund,
    why: Why,
    reference: Annotated[str, typer.Option("--reference", help="The channel's own number.")] = "",
    key: Key = None,
) -> None:
    """The channel has paid a refund out."""
    act_on(
        place,
        ("tenants", tenant, "refunds", refund, "paid"),
        {"reference": reference},
        (why, key),
        lambda desk, site, by: desk.pay_refund(site, tenant, refund, reference, by),
    )


@on_site
def refund_failed(place: Place, tenant: Tenant, refund: Refund, why: Why, key: Key = None) -> None:
    """The channel could not pay a refund out: the wallet has it again."""
    act_on(
        place,
        ("tenants", tenant, "refunds", refund, "failed"),
        {},
        (why, key),
        lambda desk, site, by: desk.fail_refund(site, tenant, refund, by),
    )


@on_site
def debt(
    place: Place,
    tenant: Tenant,
    amount: Amount,
    why: Why,
    origin: Annotated[str, typer.Option("--origin", help="arrears, deposit or other.")] = "arrears",
    kind: Annotated[str, typer.Option("--kind", help="instalment or accumulated.")] = "instalment",
    share: Annotated[int | None, typer.Option("--share", help="Per cent of each payment.", min=1, max=100)] = None,
    cap: Annotated[str | None, typer.Option("--cap", help="Most in a month, such as 100.00.")] = None,
    priority: Annotated[int, typer.Option("--priority", help="Smaller is paid first.", min=0, max=1000)] = 100,
    key: Key = None,
) -> None:
    """Make a debt that later recharges pay off."""
    terms = {"kind": kind, "origin": origin, "share_percent": share, "priority": priority}
    cap_nano = None if cap is None else nano_of(cap)
    body = {"tenant": tenant, "amount_nano": nano_of(amount), **terms, "cap_nano": cap_nano}
    act_on(
        place,
        ("tenants", tenant, "debts"),
        {"amount": amount, **terms, "cap_per_month": cap},
        (why, key),
        lambda desk, site, by: desk.create_debt(site, body, by),
    )


@on_site
def debt_cancel(place: Place, tenant: Tenant, debt: Debt, why: Why, key: Key = None) -> None:
    """End a debt: what remains goes back to where it came from."""
    act_on(
        place,
        ("tenants", tenant, "debts", debt, "cancel"),
        {},
        (why, key),
        lambda desk, site, by: desk.cancel_debt(site, tenant, debt, by),
    )


@on_site
def debt_write_off(place: Place, tenant: Tenant, debt: Debt, why: Why, key: Key = None) -> None:
    """Give up what remains of a debt."""
    act_on(
        place,
        ("tenants", tenant, "debts", debt, "write-off"),
        {},
        (why, key),
        lambda desk, site, by: desk.write_off_debt(site, tenant, debt, by),
    )


@on_site
def deposit_return(place: Place, tenant: Tenant, amount: Amount, why: Why, key: Key = None) -> None:
    """Put a paid deposit onto the wallet."""
    nano = nano_of(amount)
    act_on(
        place,
        ("tenants", tenant, "deposit-returns"),
        {"amount": amount},
        (why, key),
        lambda desk, site, by: desk.return_deposit(site, tenant, nano, by),
    )
