"""`twinmeter tariff whatif`: what a month would have cost by another tariff, and who would notice."""

from __future__ import annotations

import json as json_text
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.installation import say
from api.cli.language import language
from api.cli.on_site import Place, on_data
from api.cli.options import TariffFile

if TYPE_CHECKING:
    from api.bootstrap import Platform
    from billing.whatif import Comparison
    from twin.explained import Question

_EVERY = 50
SHOWN = 10


@on_data
def whatif(
    place: Place,
    tariff: TariffFile,
    month: Annotated[str, typer.Option("--month", help="Month, such as 2026-01.")],
    instead_of: Annotated[
        str | None, typer.Option("--instead-of", help="The tariff it replaces; otherwise the one of its own name.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show every tenant.")] = False,
) -> None:
    """Rate a recorded month by a tariff and by its replacement: revenue, winners and losers, tiers, cutoffs.

    Nothing is changed anywhere.
    """
    from schemas.documents import load_checked

    document = load_checked(tariff, "tariff").data
    number = read_month(month)

    async def near(platform: Platform, name: str) -> tuple[Question, list[Comparison]]:
        return await _ask(platform, name, number, document, instead_of)

    question, found = place.near(near)
    if place.json:
        print(json_text.dumps(as_document(question, found), ensure_ascii=False, indent=2))
        return
    from api.cli.whatif_text import render_whatif

    print(render_whatif(question, found, language(), shown=None if full else SHOWN))


async def _ask(
    platform: Platform, site: str, month: int, document: dict[str, Any], instead_of: str | None
) -> tuple[Question, list[Comparison]]:
    from billing.history import HistoryError
    from billing.money import MoneyError
    from billing.rating import RatingError
    from billing.tariff import TariffError

    try:
        question, answers = await platform.what_ifs.ask(site, month, document, instead_of=instead_of)
        found: list[Comparison] = []
        async for one in answers:
            found.append(one)
            if len(found) % _EVERY == 0:
                say(f"{len(found)} of {len(question.tenants)} tenants")
    except LookupError as error:
        raise CommandError(str(error.args[0])) from None
    except (TariffError, HistoryError, RatingError, MoneyError) as error:
        raise CommandError(f"month {month} cannot be rated: {error}") from None
    return question, found


def as_document(question: Question, found: list[Comparison]) -> dict[str, Any]:
    """The outcome for programs; amounts in nano-units."""
    rows = [
        {
            "tenant": one.tenant,
            "difference_nano": one.difference_nano,
            "now": {**msgspec.to_builtins(one.now), "total_nano": one.now.total_nano},
            "then": {**msgspec.to_builtins(one.then), "total_nano": one.then.total_nano},
        }
        for one in found
    ]
    return {
        "site": question.site,
        "month": question.month,
        "replaced": question.replaced,
        "tariff": question.tariff.name,
        "since_ever": question.since_ever,
        "revenue_now_nano": sum(one.now.total_nano for one in found),
        "revenue_then_nano": sum(one.then.total_nano for one in found),
        "tenants": rows,
    }


def read_month(text: str) -> int:
    """202601 of `2026-01` or `202601`; raises WrongUsageError."""
    digits = text.replace("-", "")
    if len(digits) != 6 or not digits.isdecimal() or not 1 <= int(digits[4:]) <= 12:
        raise WrongUsageError(f"--month {text!r}: write a month such as 2026-01")
    return int(digits)
