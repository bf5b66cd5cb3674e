"""`twinmeter explain`: any line of the ledger, down to the two register readings behind each of its amounts."""

from __future__ import annotations

import json as json_text
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from api.cli.errors import CommandError
from api.cli.language import language
from api.cli.on_site import Place, on_site
from api.cli.remote import Remote

if TYPE_CHECKING:
    from api.bootstrap import Platform
    from twin.explained import ExplainedLine


@on_site
def explain(
    place: Place,
    seq: Annotated[int, typer.Argument(help="Number of the ledger line: `seq` in a tenant's ledger.", min=1)],
) -> None:
    """Show where the amounts of a ledger line come from, and whether its readings lead to them."""
    if place.url is not None:
        told = Remote(place.url, place.site).get("journals", str(seq), "explanation", lang=language())
        print(json_text.dumps(told, ensure_ascii=False, indent=2) if place.json else told["text"])
        return

    async def near(platform: Platform, name: str) -> ExplainedLine:
        line = await platform.explanations.line(name, seq)
        if line is None:
            raise CommandError(f"site {name} has no ledger line {seq}")
        return line

    line = place.near(near)
    if place.json:
        print(json_text.dumps(msgspec.to_builtins(line), ensure_ascii=False, indent=2))
        return
    from zoneinfo import ZoneInfo

    from billing.derivation_text import render

    print(render(line.tree, "en" if language() == "en" else "zh", ZoneInfo(line.timezone)))
