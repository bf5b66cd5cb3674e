"""The live terminal view of a park."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from rich.columns import Columns
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from api.cli.language import tell
from api.cli.park_watch import yuan

if TYPE_CHECKING:
    from rich.console import RenderableType

    from api.cli.demo_park import Snapshot
    from api.cli.park_watch import ParkWatch

MOODS = {"good": "green", "bad": "red", "plain": ""}

COMMAND_STATES_ZH = {
    "created": "已创建",
    "queued": "排队",
    "sent": "已发送",
    "received": "已接收",
    "executed": "已执行",
    "verified": "已核实",
    "rejected": "被拒绝",
    "expired": "已过期",
    "failed": "失败",
    "unverified": "未核实",
    "superseded": "被取代",
    "cancelled": "已取消",
}


def render(snapshot: Snapshot, watch: ParkWatch, zone: str, title: str, links: str) -> RenderableType:
    """One picture of the park as it is now."""
    local = ZoneInfo(zone)
    moment = datetime.fromtimestamp(snapshot.now / 1000, local)
    header = Text.assemble((title, "bold"), "  ", f"{moment:%Y-%m-%d %H:%M:%S}", "  ", (links, "dim"))
    tables = Columns([_traffic(snapshot), _money(snapshot, watch), _supply(snapshot, watch)], padding=(0, 3))
    return Panel(
        Group(header, "", tables, "", _happenings(watch, local)),
        subtitle=tell("Ctrl-C 结束并核对账目", "Ctrl-C stops and verifies"),
    )


def _table(title: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 1))
    table.add_column()
    table.add_column(justify="right", style="bold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _traffic(snapshot: Snapshot) -> Table:
    return _table(
        tell("数据", "traffic"),
        [
            (tell("报文/秒", "messages/s"), f"{snapshot.messages_per_s:,.0f}"),
            (tell("读数", "readings"), f"{snapshot.readings:,}"),
            (tell("死信", "dead letters"), f"{snapshot.dead:,}"),
            (tell("在线连接", "connections"), f"{snapshot.connected}"),
            (tell("账本滞后", "ledger lag"), f"{snapshot.ledger_lag:,}"),
        ],
    )


def _money(snapshot: Snapshot, watch: ParkWatch) -> Table:
    return _table(
        tell("资金", "money"),
        [
            (tell("已扣费", "charged"), yuan(snapshot.charges_nano)),
            (tell("余额合计", "balances"), yuan(snapshot.balance_nano)),
            (tell("欠费商户", "in debt"), f"{snapshot.in_debt}"),
            (tell("低余额提醒", "low-balance alarms"), f"{watch.low_balance_alarms}"),
            (tell("充值", "recharges"), f"{watch.recharges} / {yuan(watch.recharged_nano)}"),
        ],
    )


def _supply(snapshot: Snapshot, watch: ParkWatch) -> Table:
    commands = watch.commands()
    words = ", ".join(
        f"{tell(COMMAND_STATES_ZH.get(state, state), state)} {count}" for state, count in sorted(commands.items())
    )
    return _table(
        tell("供应", "supply"),
        [
            (tell("商户", "tenants"), f"{snapshot.tenants}"),
            (tell("欠费断供", "cutoffs"), f"{watch.cutoffs}"),
            (tell("恢复供应", "reconnections"), f"{watch.reconnections}"),
            (tell("安全跳闸", "safety trips"), f"{watch.overloads}"),
            (tell("指令", "commands"), words or "-"),
        ],
    )


def _happenings(watch: ParkWatch, zone: ZoneInfo) -> RenderableType:
    lines = [
        Text.assemble(
            (f"{datetime.fromtimestamp(item.ts / 1000, zone):%H:%M:%S} ", "dim"), (item.text, MOODS[item.mood])
        )
        for item in reversed(watch.happenings)
    ]
    return Group(*lines) if lines else Text(tell("等待第一批读数……", "waiting for the first readings ..."), style="dim")
