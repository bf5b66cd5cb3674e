"""The report of a bulk switching job as a table: every breaker with what came of it, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from billing.tables import Column, Table
from twin.core.bulk_words import JOB_STATES, OPERATIONS, REASONS, STATES, worded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from api.report_files import Documents
    from twin.switched import SwitchJob, SwitchStep

FORMATS = ("csv", "xlsx", "pdf")
ORDER = ("failed", "silent", "sent", "waiting", "skipped", "left", "verified")
"""What somebody has to look at stands first."""
_COLUMNS = (
    Column("device", "设备", "Device", width=20),
    Column("tenant", "租户", "Tenant", width=16),
    Column("state", "结果", "State", width=10),
    Column("state_words", "说明", "In words", width=24),
    Column("reason", "原因代码", "Reason", width=16),
    Column("reason_words", "原因", "Why", width=34),
    Column("detail", "详情", "Detail", width=24),
    Column("sent_ts", "下发时间", "Sent", "instant", width=20),
    Column("settled_ts", "结果时间", "Settled", "instant", width=20),
    Column("late", "迟到", "Late", width=8),
    Column("now", "当前位置", "Position now", width=12),
    Column("command", "指令", "Command", width=38),
)


def sorted_steps(steps: Sequence[SwitchStep]) -> list[SwitchStep]:
    """The steps with those first that need somebody, by device within each state."""
    return sorted(steps, key=lambda step: (ORDER.index(step.state), step.device))


def report_file(
    documents: Documents,
    job: SwitchJob,
    steps: Sequence[SwitchStep],
    positions: Mapping[str, str],
    *,
    form: str,
    zone: ZoneInfo,
    language: str,
) -> Iterator[bytes]:
    """The bytes of the report as CSV, Excel or PDF. Raises DocumentError where the machine lacks what a PDF needs."""
    table = Table(f"switching-{job.id}", f"批量控制 {job.id}", f"Bulk switching {job.id}", _COLUMNS)
    file = documents.table(form, table, zone, language, heading(job, language), "")
    yield file.head()
    yield file.rows(_row(step, positions.get(step.device, ""), language) for step in sorted_steps(steps))
    yield from file.end()


def heading(job: SwitchJob, language: str = "both") -> list[str]:
    """What the job was and how it stands, a line each."""
    tally = job.tally
    counts = [(name, getattr(tally, name)) for name in ORDER]
    why = f" ({worded(REASONS, job.reason, language)})" if job.reason else ""
    return [
        f"{worded(OPERATIONS, job.operation, language)}  {job.lock}  {job.who}: {job.why}",
        f"{worded(JOB_STATES, job.state, language)}{why}",
        "  ".join(f"{worded(STATES, name, language)}: {count}" for name, count in counts if count),
    ]


def _row(step: SwitchStep, position: str, language: str) -> tuple[Any, ...]:
    return (
        *(step.device, step.tenant, step.state, worded(STATES, step.state, language)),
        *(step.reason, worded(REASONS, step.reason, language) if step.reason else "", step.detail),
        *(step.sent_ts, step.settled_ts, "late" if step.late else "", position, step.command),
    )
