"""`twinmeter approvals list|approve|reject|cancel`: what waits for a second person."""

from __future__ import annotations

import json as json_text
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.language import tell
from api.cli.on_site import Place, Why, on_site, user

if TYPE_CHECKING:
    from api.bootstrap import Platform

app = typer.Typer(help="Requests that wait for a second person.", no_args_is_help=True)
Request = Annotated[str, typer.Argument(help="Id of the request, such as A7.")]


@app.command("list")
@on_site
def list_requests(
    place: Place,
    state: Annotated[
        str | None, typer.Option("--state", help="open, approved, rejected, expired, cancelled.")
    ] = "open",
    limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 100,
) -> None:
    """Requests, newest first; the open ones unless another state is asked for."""

    async def near(platform: Platform, site: str) -> Any:
        page = await platform.account_reads.requests(site, state=state or None, limit=limit)
        return {"items": [_plain(row) for row in page.items]}

    found = place.ask(lambda far: far.get("approvals", state=state or None, limit=limit), near)
    if place.json:
        print(json_text.dumps(found["items"], ensure_ascii=False, indent=2))
        return
    if not found["items"]:
        print(tell("没有待审批申请", "nothing waits"))
    for row in found["items"]:
        print(f"{row['id']}  {row['state']}  {row['kind']}  {row['subject']}  {row['asked_by']}: {row['why']}")
        print(f"    {json_text.dumps(row['body'], ensure_ascii=False)}")


@app.command()
@on_site
def approve(place: Place, request: Request, why: Why) -> None:
    """Agree to what somebody else has asked for; it is carried out at once."""
    _decide(place, request, "approve", why)


@app.command()
@on_site
def reject(place: Place, request: Request, why: Why) -> None:
    """Refuse; what was set aside for it is given back."""
    _decide(place, request, "reject", why)


@app.command()
@on_site
def cancel(place: Place, request: Request, why: Why) -> None:
    """Take your own request back."""
    _decide(place, request, "cancel", why)


def _decide(place: Place, request: str, how: str, why: str) -> None:
    async def near(platform: Platform, site: str) -> Any:
        from api.http.acts import deliver

        now, person = platform.clock.now(), user()
        if how == "cancel":
            decision = await platform.accounts.cancel_request(site, request, person, why, now)
        else:
            decision = await platform.accounts.decide(site, request, person, how == "approve", why, now)
        for pending in decision.acts:
            await deliver(platform, pending)
        return _plain(decision.approval)

    row = place.ask(lambda far: far.post("approvals", request, how, body={"reason": why}), near)
    if place.json:
        print(json_text.dumps(row, ensure_ascii=False, indent=2))
    else:
        print(
            f"{row['id']}  {row['state']}  {row['kind']}  {row['subject']}  {row['decided_by']}: {row['decided_why']}"
        )


def _plain(approval: Any) -> dict[str, Any]:
    from api.http.account_bodies import worded

    facts = msgspec.to_builtins(approval)
    return {**facts, "body": worded(facts["body"])}
