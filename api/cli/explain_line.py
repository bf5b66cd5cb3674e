"""`twinmeter explain`: any line of the ledger, down to the two register readings behind each of its amounts."""

from __future__ import annotations

import json as json_text
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from api.cli.errors import CommandError
from api.cli.installation import run_on_platform, set_up_logs
from api.cli.language import language
from api.cli.options import Config, Data, DatabaseUrl, Json, Language, RedisUrl, Site, settings_of
from api.cli.remote import Remote, Url
from api.cli.rule_versions import site_of

if TYPE_CHECKING:
    from api.bootstrap import Platform
    from api.cli.installation import Installation
    from twin.explained import ExplainedLine


def explain(
    seq: Annotated[int, typer.Argument(help="Number of the ledger line: `seq` in a tenant's ledger.", min=1)],
    site: Site = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    _lang: Language = None,
) -> None:
    """Show where the amounts of a ledger line come from, and whether its readings lead to them."""
    if url is not None:
        told = Remote(url, site).get("journals", str(seq), "explanation", lang=language())
        print(json_text.dumps(told, ensure_ascii=False, indent=2) if as_json else told["text"])
        return
    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url)
    set_up_logs("warning")

    async def work(platform: Platform, _found: Installation) -> ExplainedLine:
        name = await site_of(platform, site)
        line = await platform.explanations.line(name, seq)
        if line is None:
            raise CommandError(f"site {name} has no ledger line {seq}")
        return line

    line = run_on_platform(settings, work)
    if as_json:
        print(json_text.dumps(msgspec.to_builtins(line), ensure_ascii=False, indent=2))
        return
    from zoneinfo import ZoneInfo

    from billing.derivation_text import render

    print(render(line.tree, "en" if language() == "en" else "zh", ZoneInfo(line.timezone)))
