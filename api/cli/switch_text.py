"""What `twinmeter switch` prints: previews and jobs, in the language in use."""

from __future__ import annotations

import json as json_text
from typing import TYPE_CHECKING, Any

from api.cli.language import language, tell
from twin.core.bulk_words import JOB_STATES, OPERATIONS, REASONS, STATES, worded

if TYPE_CHECKING:
    from api.cli.on_site import Place

MOST_SHOWN = 40


def tell_preview(seen: dict[str, Any]) -> None:
    print(tell(f"将操作 {seen['taking_part']} 台", f"{seen['taking_part']} would be switched"))
    for row in seen["affected"][:MOST_SHOWN]:
        print(f"  {row['device']}  {row['tenant']}")
    if seen["taking_part"] > MOST_SHOWN:
        print(f"  ... {seen['taking_part'] - MOST_SHOWN}")
    if seen["left_out"]:
        print(tell(f"跳过 {seen['left_out']} 台", f"{seen['left_out']} are left out"))
        for reason, count in sorted(seen["skips"].items()):
            names = [row["device"] for row in seen["skipped"] if row["skip"] == reason]
            shown = ", ".join(names[:8]) + (" ..." if count > 8 else "")
            print(f"  {worded(REASONS, reason, language() or 'both')}: {count}  ({shown})")
    if seen["needs_approval"]:
        print(tell("数量超过上限，须由他人审批", "more than one person may order: a second person has to agree"))
    print(f"code: {seen['code']}")


def show_job(place: Place, job: dict[str, Any]) -> None:
    if place.json:
        print(json_text.dumps(job, ensure_ascii=False, indent=2))
        return
    print(job_line(job))
    if job["state"] == "asked":
        asked = job["approval"]
        print(tell(f"已提交审批 {asked}，须由他人同意", f"request {asked} waits for a second person"))


def job_line(job: dict[str, Any]) -> str:
    """A job in one line: what it is, how it stands, how many of what."""
    words = language() or "both"
    why = f" ({worded(REASONS, job['reason'], words)})" if job["reason"] else ""
    counts = [f"{worded(STATES, name, words)} {count}" for name, count in job["tally"].items() if count]
    state = f"{worded(JOB_STATES, job['state'], words)}{why}"
    return f"{job['id']}  {worded(OPERATIONS, job['operation'], words)}  {state}  {job['total']}: {', '.join(counts)}"
