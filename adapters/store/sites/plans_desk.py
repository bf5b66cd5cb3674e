"""Schedules and load limits by people: defined, given to circuits, taken off, each act once for its key.

They change the registry by the same path as a site import, so the exported site file tells them, the twins get them by
their contracts, and a rebuild has them. An import of a site file that says otherwise shows the difference first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapters.store.journals.account_acts import once
from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.sites.site_import import amend
from adapters.store.sites.site_plans import KINDS, check_plans
from adapters.store.sites.site_state import load_state
from rules.ruleset import compile_ruleset
from twin.core.view import TWIN_MODEL
from twin.ports import MoneyRefusedError, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapters.store.engine.database import Database, Transaction
    from adapters.store.journals.journal_book import JournalBook
    from adapters.store.sites.site_state import SiteState
    from twin.ports import Caller

FIELDS = {kind: field for field, kind in KINDS.items()}


class SqlPlans:
    """The desk. Every act raises LookupError for an unknown site and MoneyRefusedError with a stable code."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def plans(self, site: str) -> dict[str, dict[str, dict[str, Any]]]:
        """By kind (`schedules`, `limits`) and name: the plan, and the `devices` that have it. Raises LookupError."""
        async with self._database.snapshot() as tx:
            state = await load_state(tx, site)
        if state.imported_ts is None:
            raise LookupError(f"site {site!r} is not in the database; import its site file first")
        return {
            kind: {
                name: {**plan, "devices": _having(state, FIELDS[kind], name)}
                for name, plan in state.settings.get(kind, {}).items()
            }
            for kind in FIELDS
        }

    async def define(self, site: str, kind: str, name: str, plan: Mapping[str, Any] | None, caller: Caller) -> Outcome:
        """Give a schedule or a limit a name, or change it for all that have it; None takes it out of the site.

        Raises MoneyRefusedError `plan` (what is wrong with it), `unknown_plan`, `plan_in_use`.
        """

        async def act(tx: Transaction, book: JournalBook) -> Outcome:
            state = await load_state(tx, site)
            before = state.settings.get(kind, {})
            if plan is None and name not in before:
                raise MoneyRefusedError("unknown_plan", f"site {site} has no {FIELDS[kind]} {name!r}")
            users = _having(state, FIELDS[kind], name)
            if plan is None and users:
                raise MoneyRefusedError("plan_in_use", f"{len(users)} devices have it: {', '.join(users[:5])}")
            after = {other: known for other, known in before.items() if other != name}
            if plan is not None:
                after[name] = dict(plan)
            state.settings = {**state.settings, kind: after}
            what = f"{FIELDS[kind]}.define"
            return await _amended(tx, book, state, caller, what, f"{FIELDS[kind]} {name}", before.get(name), plan)

        content = ("plan.define", kind, name, plan)
        return await once(self._database, site, caller, content, act)

    async def assign(self, site: str, kind: str, devices: Sequence[str], name: str | None, caller: Caller) -> Outcome:
        """Give devices a schedule or a limit, or take theirs off (None).

        Raises MoneyRefusedError `unknown_device`, `plan`.
        """
        field = FIELDS[kind]

        async def act(tx: Transaction, book: JournalBook) -> Outcome:
            state = await load_state(tx, site)
            strangers = [device for device in devices if device not in state.devices]
            if strangers:
                raise MoneyRefusedError("unknown_device", f"site {site} has no device {strangers[0]!r}")
            before = {device: state.devices[device].get(field) for device in devices}
            for device in devices:
                entry = {key: value for key, value in state.devices[device].items() if key != field}
                state.devices[device] = entry if name is None else {**entry, field: name}
            after = dict.fromkeys(devices, name)
            return await _amended(tx, book, state, caller, f"{field}.assign", f"{field} of devices", before, after)

        content = ("plan.assign", kind, sorted(devices), name)
        return await once(self._database, site, caller, content, act)


def _having(state: SiteState, field: str, name: str) -> list[str]:
    return sorted(device for device, entry in state.devices.items() if entry.get(field) == name)


async def _amended(
    tx: Transaction, book: JournalBook, state: SiteState, by: Caller, what: str, subject: str, before: Any, after: Any
) -> Outcome:
    """Bring the registry there, with an audit row of the act itself."""
    params: dict[str, Any] = {}
    for ruleset in state.rulesets.values():
        params |= compile_ruleset(ruleset, TWIN_MODEL).params
    problems = check_plans({**state.settings, "devices": list(state.devices.values())}, params)
    if problems:
        raise MoneyRefusedError("plan", "; ".join(problems[:5]))
    told, acts = await amend(tx, book, state, who=by.who, now=by.ts)
    if told.refused:
        raise MoneyRefusedError("plan", "; ".join(told.refused[:5]))
    await record_audit(tx, book.site, [AuditEntry(by.ts, by.who, what, subject, before, {"now": after, "why": by.why})])
    return Outcome({"state": "done", "groups": len(acts), "lines": list(told.lines[:100])}, acts)
