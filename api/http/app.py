"""The HTTP API as one Litestar application over a platform."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag

from api.http.failures import EXCEPTION_HANDLERS
from api.http.hooks import Stopwatch, secure
from api.http.identity import ensure_admin, guard, person_of
from api.http.lag import LagWatch
from api.http.metrics import Metrics
from api.http.routes import (
    accounts,
    alarms,
    approvals,
    books,
    breaker_why,
    bulk,
    consents,
    devices,
    events,
    explaining,
    health,
    held,
    meters,
    metrics,
    payments,
    plans,
    reports,
    rules,
    settlement,
    sites,
    switching,
    tenants,
    tokens,
    watching,
    workbooks,
)
from api.http.strict_json import StrictRequest
from api.stream.feed import LiveFeed

if TYPE_CHECKING:
    from api.http.backend import Backend

LARGEST_BODY: Final = 64 * 1024
DESCRIPTION: Final = (
    "Prepaid electricity and water for parks. Money is a decimal string with nine decimals, times are Unix "
    "milliseconds UTC, quantities are whole Wh and litres. Every refusal is `application/problem+json` with a stable "
    "`code`."
)
TAGS: Final = {
    "sites": (sites.list_sites, sites.get_site),
    "tenants": (tenants.list_tenants, tenants.get_tenant),
    "money": (
        tenants.list_ledger,
        tenants.top_up,
        tenants.list_payments,
        payments.take_payment,
        payments.compare_statement,
        explaining.explain_journal,
        explaining.explain_ledger_line,
    ),
    "accounts": (
        accounts.open_account,
        accounts.get_account,
        accounts.correct_entry,
        accounts.enter_by_hand,
        accounts.transfer_balance,
        accounts.write_off_arrears,
        accounts.create_debt,
        accounts.cancel_debt,
        accounts.write_off_debt,
        accounts.return_deposit,
        accounts.request_refund,
        accounts.pay_refund,
        accounts.fail_refund,
        accounts.list_refunds,
        accounts.guarantee_supply,
        accounts.move_out_tenant,
        accounts.close_account,
        accounts.reopen_account,
    ),
    "approvals": (
        approvals.list_approvals,
        approvals.approve_request,
        approvals.reject_request,
        approvals.cancel_request,
    ),
    "books": (books.read_trial_balance, books.list_anchors, books.take_anchor, books.export_ledger),
    "devices": (devices.list_devices, devices.get_device, devices.list_commands, breaker_why.explain_breaker_of),
    "meters": (
        meters.enter_reading,
        meters.declare_rollover,
        meters.replace_meter,
        meters.declare_reset,
        meters.change_ratio,
        meters.list_meter_events,
        meters.list_doubtful_readings,
        meters.decide_reading,
        meters.hand_over_meters,
        meters.list_handovers,
    ),
    "consents": (consents.get_supply, consents.take_emergency_credit, consents.confirm_warning),
    "switching": (switching.command_device, switching.place_lock, switching.release_lock),
    "plans": (
        plans.list_plans,
        plans.preview_plan,
        plans.set_plan,
        plans.remove_plan,
        plans.assign_plan,
        plans.get_device_plan,
    ),
    "bulk switching": (
        bulk.preview_switching,
        bulk.start_switching,
        bulk.list_switching,
        bulk.get_switching,
        bulk.list_switching_steps,
        bulk.download_switching,
        bulk.stop_switching,
        bulk.resume_switching,
        bulk.cancel_switching,
        bulk.undo_switching,
    ),
    "watching": (
        alarms.list_alarms,
        alarms.get_alarm,
        alarms.list_alarm_notes,
        alarms.get_alarm_evidence,
        alarms.ack_alarm,
        alarms.unack_alarm,
        alarms.comment_alarm,
        alarms.assign_alarm,
        alarms.shelve_alarm,
        alarms.unshelve_alarm,
        held.list_held_firings,
        held.approve_firings,
        watching.list_incidents,
        watching.close_incident,
        watching.list_dead_letters,
        events.follow_events,
    ),
    "rules": (
        rules.list_rulesets,
        rules.add_ruleset,
        rules.preview_ruleset,
        rules.activate_ruleset,
        rules.roll_back_ruleset,
        rules.deactivate_ruleset,
        rules.explain_rule,
        rules.explain_tenant,
        rules.list_shadows,
        rules.start_shadow,
        rules.stop_shadow,
    ),
    "workbooks": (workbooks.download_workbook, workbooks.preview, workbooks.import_),
    "reports": (
        reports.overview,
        reports.revenue,
        reports.energy,
        reports.recharge,
        reports.arrears,
        reports.ranking,
        reports.download_report,
        reports.download_site_ledger,
        reports.download_statement,
        reports.download_bill,
    ),
    "settlement": (
        settlement.start_settlement,
        settlement.list_settlements,
        settlement.get_settlement,
        settlement.enter_settlement_price,
        settlement.list_bills,
        settlement.get_bill,
        settlement.list_tenant_bills,
        settlement.correct_bill,
        settlement.make_final_bill,
        settlement.push_bills,
        settlement.list_bill_pushes,
    ),
    "tokens": (tokens.create_token, tokens.list_tokens, tokens.revoke_token),
}


def create_app(platform: Backend) -> Litestar:
    """The API over a platform; it opens nothing by itself and closes only its live feeds."""
    feed = LiveFeed(platform.stream, platform.store)

    async def start(_app: Litestar) -> None:
        await ensure_admin(platform)

    async def stop(_app: Litestar) -> None:
        await feed.close()

    state = State(
        {
            "backend": platform,
            "feed": feed,
            "open_feeds": events.OpenFeeds(),
            "lag_watch": LagWatch(),
            "metrics": Metrics(platform, feed),
        }
    )
    areas = [Router("/", route_handlers=list(handlers), tags=[tag]) for tag, handlers in TAGS.items()]
    return Litestar(
        route_handlers=[
            Router("/api/v1", route_handlers=areas, security=[{"bearer": []}]),
            health.check_live,
            health.check_ready,
            metrics.read_metrics,
        ],
        state=state,
        guards=[guard],
        dependencies={
            "backend": Provide(lambda: platform, sync_to_thread=False),
            "person": Provide(person_of, sync_to_thread=False),
        },
        middleware=[Stopwatch],
        before_send=[secure],
        exception_handlers=EXCEPTION_HANDLERS,
        request_class=StrictRequest,
        request_max_body_size=LARGEST_BODY,
        openapi_config=_openapi(),
        on_startup=[start],
        on_shutdown=[stop],
        logging_config=None,
        debug=False,
    )


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="twinmeter",
        version=_version(),
        description=DESCRIPTION,
        use_handler_docstrings=True,
        tags=[Tag(name=tag) for tag in (*TAGS, "health")],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", description="A named token with a role.")
            }
        ),
        openapi_router=Router("/schema", route_handlers=[], opt={"operation": "readSchema"}, include_in_schema=False),
        # No browsable page: the usual ones load their scripts from outside.
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"]), YamlRenderPlugin()],
    )


def _version() -> str:
    try:
        return version("twinmeter")
    except PackageNotFoundError:
        return "0.0.0"
