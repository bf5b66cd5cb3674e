"""`twinmeter`: the entry of the command line. Exit codes: 0 done, 1 a check failed, 2 wrong usage."""

from __future__ import annotations

import sys

import typer

from api.cli import (
    accounts,
    alarms,
    approvals,
    backup,
    books,
    conformance,
    demo,
    doctor,
    explain_line,
    incidents,
    meters,
    partition,
    payments,
    plans,
    rebuild,
    reports,
    rerate,
    rules,
    settle,
    shards,
    simulate,
    single,
    site,
    switch,
    switch_one,
    switch_why,
    tariff,
    up,
    verify,
)
from api.cli.errors import debugging, report
from api.cli.options import Language

app = typer.Typer(
    name="twinmeter",
    help="Prepaid electricity and water for parks: digital twins, real-time deduction, a provable ledger.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _everywhere(lang: Language = None) -> None:
    """Prepaid electricity and water for parks: digital twins, real-time deduction, a provable ledger."""


app.command("demo")(demo.demo)
app.command("up")(up.up)
for _service in (single.ingest, single.commands, single.scheduler, single.recorder, single.api):
    app.command(_service.__name__)(_service)
books.app.command("partition")(partition.partition)
app.add_typer(books.app, name="ledger")
app.add_typer(accounts.app, name="accounts")
app.add_typer(approvals.app, name="approvals")
app.add_typer(payments.app, name="payments")
switch.app.add_typer(plans.app, name="plan")
switch.app.command("open")(switch_one.open_one)
switch.app.command("close")(switch_one.close_one)
switch.app.command("why")(switch_why.why)
app.add_typer(switch.app, name="switch")
app.add_typer(site.app, name="site")
app.add_typer(rules.app, name="rules")
app.add_typer(alarms.app, name="alarms")
app.add_typer(incidents.app, name="incidents")
app.add_typer(backup.app, name="backup")
app.add_typer(meters.app, name="meters")
app.add_typer(tariff.app, name="tariff")
app.add_typer(reports.app, name="report")
app.command("simulate")(simulate.simulate)
app.add_typer(conformance.app, name="conformance")
app.command("verify")(verify.verify)
app.command("settle")(settle.settle)
app.add_typer(settle.app, name="bills")
app.command("explain")(explain_line.explain)
app.command("rerate")(rerate.rerate)
app.command("rebuild")(rebuild.rebuild)
app.command("doctor")(doctor.doctor)
app.command("shards")(shards.shards)


def main() -> None:
    """Run the command line; never shows a traceback unless TWINMETER_DEBUG=1 asks for it."""
    try:
        app(prog_name="twinmeter")
    except Exception as error:
        if debugging():
            raise
        sys.exit(report(error))
