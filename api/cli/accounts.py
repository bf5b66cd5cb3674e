"""`twinmeter accounts`: open, recharge, correct, guarantee, settle and close; every act with its reason and key."""

from __future__ import annotations

import json as json_text
import uuid
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli import account_money
from api.cli.account_outcome import act_on, nano_of, tell_outcome
from api.cli.errors import WrongUsageError
from api.cli.language import tell
from api.cli.on_site import Key, Place, Why, on_site

if TYPE_CHECKING:
    from api.bootstrap import Platform

app = typer.Typer(
    help="Accounts of tenants: open, recharge, correct, refund, guarantee a supply, settle, close.",
    no_args_is_help=True,
)
Tenant = Annotated[str, typer.Argument(help="Id of the tenant.")]
Amount = Annotated[str, typer.Argument(help="Such as 50.00.")]
Part = Annotated[str | None, typer.Option("--amount", help="A part of it; absent: all that is left.")]


@app.command()
@on_site
def show(place: Place, tenant: Tenant) -> None:
    """Balance as posted, deposit, guarantee, debts, and the states the account went through."""

    async def near(platform: Platform, site: str) -> Any:
        from api.http.account_bodies import worded

        facts = msgspec.to_builtins(await platform.account_reads.account(site, tenant))
        facts["balance_nano"] = facts["credits_nano"] - facts["charges_nano"]
        return worded({**facts, "debts": [worded(debt) for debt in facts["debts"]]})

    found = place.ask(lambda far: far.get("tenants", tenant, "account"), near)
    if place.json:
        print(json_text.dumps(found, ensure_ascii=False, indent=2))
        return
    print(f"{found['tenant']}  {found['state']}  {tell('余额', 'balance')} {found['balance']}")
    for name, words in (
        ("credits", "入账"),
        ("charges", "扣费"),
        ("emergency_credit", "赊欠额度"),
        ("deposit", "押金"),
    ):
        print(f"  {tell(words, name.replace('_', ' '))}: {found[name]}")
    for debt in found["debts"]:
        print(f"  {debt['debt']} {debt['kind']} {debt['state']}: {debt['remaining']} / {debt['principal']}")
    for change in found["changes"]:
        print(f"  {change['ts']} {change['state']} {change['who']}: {change['why']}")


@app.command("open")
@on_site
def open_account(
    place: Place,
    tenant: Tenant,
    why: Why,
    mode: Annotated[str, typer.Option("--mode", help="prepaid or postpaid.")] = "prepaid",
    name: Annotated[str | None, typer.Option("--name", help="What people call it.")] = None,
    opening_credit: Annotated[str | None, typer.Option("--opening-credit", help="Such as 50.00.")] = None,
    emergency_credit: Annotated[str | None, typer.Option("--emergency-credit", help="Such as 10.00.")] = None,
    key: Key = None,
) -> None:
    """Open an account (开户) for a new tenant. The exported site file has it."""
    wish = {"id": tenant, "mode": mode, "name": name}
    wish |= {"opening_credit": opening_credit, "emergency_credit": emergency_credit}
    entry = {field: value for field, value in wish.items() if value is not None}
    act_on(place, ("tenants",), entry, (why, key), lambda desk, site, by: desk.open(site, entry, by))


@app.command()
@on_site
def recharge(
    place: Place,
    tenant: Tenant,
    amount: Amount,
    channel: Annotated[str, typer.Option("--channel", help="cash, transfer, ...")] = "cash",
    reference: Annotated[str, typer.Option("--reference", help="The channel's own number.")] = "",
    key: Key = None,
) -> None:
    """Credit a payment (充值); the receipt says what debts took and where the rest went."""
    key = key or uuid.uuid4().hex
    body = {"amount": amount, "channel": channel, "reference": reference}

    async def near(platform: Platform, site: str) -> Any:
        from api.cli.on_site import user
        from api.http.acts import credit_act, deliver
        from api.http.routes.tenants import receipt_body
        from twin.ports import TopUp

        now = platform.clock.now()
        wish = TopUp(tenant, nano_of(amount), channel, reference, key, user(), now)
        receipt = await platform.ledger.top_up(site, wish)
        await deliver(platform, credit_act(site, receipt))
        return msgspec.to_builtins(receipt_body(receipt, channel, reference))

    done = place.ask(lambda far: far.post("tenants", tenant, "topups", body=body, key=key), near)
    tell_outcome(place, done)


@app.command()
@on_site
def correct(
    place: Place,
    tenant: Tenant,
    original: Annotated[str, typer.Argument(help="Payment (P12) or journal number (12).")],
    why: Why,
    amount: Part = None,
    key: Key = None,
) -> None:
    """Take a payment or a manual entry back (冲正) by a new journal that names it."""
    body = {"original": original, "amount": amount}
    nano = None if amount is None else nano_of(amount)
    act_on(
        place,
        ("tenants", tenant, "corrections"),
        body,
        (why, key),
        lambda desk, site, by: desk.correct(site, tenant, original, nano, by),
    )


@app.command()
@on_site
def credit(place: Place, tenant: Tenant, amount: Amount, why: Why, key: Key = None) -> None:
    """Credit a wallet by hand."""
    _by_hand(place, tenant, amount, nano_of(amount), (why, key))


@app.command()
@on_site
def debit(place: Place, tenant: Tenant, amount: Amount, why: Why, key: Key = None) -> None:
    """Debit a wallet by hand."""
    _by_hand(place, tenant, f"-{amount}", -nano_of(amount), (why, key))


@app.command()
@on_site
def transfer(
    place: Place,
    tenant: Tenant,
    to: Annotated[str, typer.Argument(help="Tenant who gets it.")],
    amount: Amount,
    why: Why,
    key: Key = None,
) -> None:
    """Move balance to another wallet."""
    nano = nano_of(amount)
    act_on(
        place,
        ("tenants", tenant, "transfers"),
        {"to": to, "amount": amount},
        (why, key),
        lambda desk, site, by, **seen: desk.transfer(site, tenant, to, nano, by, **seen),
        charges_of=tenant,
    )


@app.command("write-off")
@on_site
def write_off(place: Place, tenant: Tenant, why: Why, amount: Part = None, key: Key = None) -> None:
    """Give up arrears."""
    nano = None if amount is None else nano_of(amount)
    act_on(
        place,
        ("tenants", tenant, "write-offs"),
        {"amount": amount},
        (why, key),
        lambda desk, site, by: desk.write_off(site, tenant, nano, by),
    )


@app.command()
@on_site
def guarantee(
    place: Place,
    tenant: Tenant,
    why: Why,
    until: Annotated[str | None, typer.Option("--until", help="ISO 8601 with offset; absent: lift it.")] = None,
    key: Key = None,
) -> None:
    """Guarantee a supply (保电): no cutoff for arrears until an instant."""
    ends = None if until is None else _instant(until)
    act_on(
        place,
        ("tenants", tenant, "guarantee"),
        {"until": ends},
        (why, key),
        lambda desk, site, by: desk.guarantee(site, tenant, ends, by),
    )


@app.command("move-out")
@on_site
def move_out(
    place: Place,
    tenant: Tenant,
    why: Why,
    at: Annotated[str | None, typer.Option("--at", help="ISO 8601 with offset; now when left out.")] = None,
    reading: Annotated[
        list[str] | None, typer.Option("--reading", help="METER=VALUE, raw Wh or litres; may be repeated.")
    ] = None,
    key: Key = None,
) -> None:
    """A tenant moves out (退租): all meters go back to the landlord; close the account afterwards."""
    instant = None if at is None else _instant(at)
    readings = dict(map(_reading, reading or ()))

    def near(desk: Any, site: str, by: Any) -> Any:
        body = {"tenant": tenant, "at": instant or by.ts, "readings": readings}
        return desk.move_out(site, body, by)

    act_on(place, ("tenants", tenant, "move-out"), {"at": instant, "readings": readings}, (why, key), near)


@app.command()
@on_site
def close(
    place: Place,
    tenant: Tenant,
    why: Why,
    rest: Annotated[str, typer.Option("--rest", help="keep, refund, transfer, debt or write_off.")] = "keep",
    channel: Annotated[str, typer.Option("--channel", help="Of the refund.")] = "",
    to: Annotated[str, typer.Option("--to", help="Who gets the balance.")] = "",
    bill: Annotated[str, typer.Option("--bill", help="Number of the final bill; final: make it now.")] = "",
    key: Key = None,
) -> None:
    """Settle what is left and close the account (退租, 销户); says what still stands in the way."""
    body = {"rest": rest, "channel": channel, "to": to, "bill": bill}
    act_on(
        place,
        ("tenants", tenant, "close"),
        body,
        (why, key),
        lambda desk, site, by, **seen: desk.close(site, {"tenant": tenant, **body}, by, **seen),
        charges_of=tenant,
    )


@app.command()
@on_site
def reopen(place: Place, tenant: Tenant, why: Why, key: Key = None) -> None:
    """Open a closed account again."""
    act_on(
        place,
        ("tenants", tenant, "reopen"),
        {},
        (why, key),
        lambda desk, site, by: desk.reopen(site, tenant, by),
    )


def _instant(text: str) -> int:
    from datetime import datetime

    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise WrongUsageError(f"{text!r}: write an instant with its offset, such as 2026-03-01T00:00:00+08:00")
    return int(instant.timestamp()) * 1000


def _reading(text: str) -> tuple[str, int]:
    meter, equals, value = text.partition("=")
    if not equals or not value.isdecimal():
        raise WrongUsageError(f"--reading {text!r}: write METER=VALUE with a whole number of Wh or litres")
    return meter, int(value)


def _by_hand(place: Place, tenant: str, text: str, nano: int, said: tuple[str, str | None]) -> None:
    act_on(
        place,
        ("tenants", tenant, "entries"),
        {"amount": text},
        said,
        lambda desk, site, by: desk.manual(site, tenant, nano, by),
    )


app.command("refund")(account_money.refund)
app.command("refund-paid")(account_money.refund_paid)
app.command("refund-failed")(account_money.refund_failed)
app.command("debt")(account_money.debt)
app.command("debt-cancel")(account_money.debt_cancel)
app.command("debt-write-off")(account_money.debt_write_off)
app.command("deposit-return")(account_money.deposit_return)
