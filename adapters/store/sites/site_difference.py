"""What an import changes, and what it may not change.

An import never undoes a reading, a charge or a credit: openings of register chains and opening credits that are
booked, the kind of a device, the currency and the time zone stay as they are, and nothing is removed that charges may
name. Such wishes are refused line by line; everything else of the file is applied.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.sites.contracts import ratio_of
from adapters.store.sites.site_file import SiteError
from adapters.store.sites.site_state import SiteState, SupplyKey, SupplyRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapters.store.sites.price_changes import PriceChange

Entry = dict[str, Any]

_LASTING_SETTINGS = ("timezone", "currency")


class ChainState(msgspec.Struct, frozen=True):
    """What is posted of a meter: its last epoch, how that was opened, and whether anything was charged."""

    epoch: int
    opening: int
    head: int
    reason: str
    charged: bool


class SiteChanges(msgspec.Struct):
    """The difference between two states: lines to read, and the entries that an import writes."""

    lines: list[str] = msgspec.field(default_factory=list)
    refused: list[str] = msgspec.field(default_factory=list)
    settings: Entry | None = None
    tariffs: dict[str, Entry] = msgspec.field(default_factory=dict)
    rulesets: dict[str, Entry] = msgspec.field(default_factory=dict)
    rulesets_off: list[str] = msgspec.field(default_factory=list)
    devices: dict[str, Entry] = msgspec.field(default_factory=dict)
    tenants: dict[str, Entry] = msgspec.field(default_factory=dict)
    supplies: list[SupplyRow] = msgspec.field(default_factory=list)
    supplies_gone: list[SupplyRow] = msgspec.field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Nothing would be written."""
        return not self.lines


class History(msgspec.Struct, frozen=True):
    """What a site has posted that limits an import."""

    chains: Mapping[str, ChainState]
    booked: Mapping[str, int]
    """Opening credits by tenant, nano-units, where one is booked."""
    ruleset_digests: Mapping[tuple[str, int], str]
    """Digests of the ruleset versions that were ever imported or added."""
    rulesets_by_hand: frozenset[str] = frozenset()
    """Rulesets whose pointer was last moved by a person (activate, rollback, deactivate), not by an import."""
    prices: Mapping[str, PriceChange] = {}
    """Tariffs (and `vacancy`) whose prices the wanted state changes, with the meters that pay by them."""
    reprice: bool = False
    """What was charged by them may be charged again."""


def compare(now: SiteState, wanted: SiteState, history: History) -> SiteChanges:
    """The changes that lead from one state to the other. Raises SiteError for a changed ruleset with an old version."""
    changes = SiteChanges()
    _compare_settings(changes, now, wanted, history)
    _compare_tariffs(changes, now, wanted, history)
    _compare_rulesets(changes, now, wanted, history)
    _compare_devices(changes, now, wanted, history)
    _compare_tenants(changes, now, wanted, history)
    _compare_supplies(changes, now, wanted, history)
    return changes


def _compare_settings(changes: SiteChanges, now: SiteState, wanted: SiteState, history: History) -> None:
    settings = dict(wanted.settings)
    if now.imported_ts is None:
        changes.lines.append(f"+ site {wanted.site}")
        changes.settings = settings
        return
    for key in _LASTING_SETTINGS:
        if settings.get(key) != now.settings.get(key):
            line = f"~ site {key}: {_word(now.settings.get(key))} -> {_word(settings.get(key))}"
            changes.refused.append(f"{line}: it is fixed when a site is created, because charges were made in it")
            settings[key] = now.settings[key]
    if now.settings.get("vacancy") and _may_not_reprice(changes, "vacancy", history):
        settings["vacancy"] = now.settings["vacancy"]
        wanted.settings["vacancy"] = now.settings["vacancy"]
    lines = _edits("site", now.settings, settings)
    if lines:
        changes.lines += lines
        changes.settings = settings


def _may_not_reprice(changes: SiteChanges, name: str, history: History) -> bool:
    """Whether a change of prices for charged energy was not asked for; says what it touches, either way."""
    change = history.prices.get(name)
    if change is None or not change.charged:
        return False
    subject = "site vacancy" if name == "vacancy" else f"tariff {name}"
    count = f"{change.charged} meter{'' if change.charged == 1 else 's'}"
    if history.reprice:
        changes.lines.append(f"~ {subject}: prices since {change.since} change; {count} will be charged again")
        return False
    verb = "was" if change.charged == 1 else "were"
    why = f"prices since {change.since} would change, and {count} {verb} charged by them"
    how = "begin a new version later, or import with --reprice to charge that energy again"
    changes.refused.append(f"~ {subject}: {why}; {how}")
    return True


def _compare_tariffs(changes: SiteChanges, now: SiteState, wanted: SiteState, history: History) -> None:
    for name, tariff in list(wanted.tariffs.items()):
        known = now.tariffs.get(name)
        if known is not None and known != tariff and _may_not_reprice(changes, name, history):
            wanted.tariffs[name] = known
            continue
        if known is None:
            changes.lines.append(f"+ tariff {name} {tariff['utility']}")
        elif known != tariff:
            changes.lines.append(f"~ tariff {name}: new version of the document")
        if known != tariff:
            changes.tariffs[name] = tariff
    for name in sorted(now.tariffs.keys() - wanted.tariffs.keys()):
        changes.refused.append(f"- tariff {name}: kept, because posted charges may name it")


def _compare_rulesets(changes: SiteChanges, now: SiteState, wanted: SiteState, history: History) -> None:
    """A version that the site has never seen and that is newer than the active one is activated, as it always was.

    Anything else that an import would have to undo (a rollback, a version activated since, a ruleset added by hand)
    was a decision of its own, which a file from before must not reverse.
    """
    for name, ruleset in list(wanted.rulesets.items()):
        version = ruleset["version"]
        digest = history.ruleset_digests.get((name, version))
        if digest is not None and digest != document_digest(ruleset):
            problem = (
                f"rulesets[{name}].version: version {version} was imported with another content; raise the version"
            )
            raise SiteError([problem])
        known = now.rulesets.get(name)
        if known == ruleset:
            continue
        why = _why_not_version(name, version, known, digest is not None, history)
        if why:
            changes.refused.append(f"~ ruleset {name} version: {_word(known and known['version'])} -> {version}: {why}")
            if known is None:
                del wanted.rulesets[name]
            else:
                wanted.rulesets[name] = known
            continue
        if known is None:
            changes.lines.append(f"+ ruleset {name} version {version}")
        else:
            changes.lines.append(f"~ ruleset {name} version: {known['version']} -> {version}")
        changes.rulesets[name] = ruleset
    for name in sorted(now.rulesets.keys() - wanted.rulesets.keys()):
        if name in history.rulesets_by_hand:
            changes.refused.append(f"- ruleset {name}: it was activated on its own; use `twinmeter rules deactivate`")
            wanted.rulesets[name] = now.rulesets[name]
            continue
        changes.lines.append(f"- ruleset {name}: no longer active")
        changes.rulesets_off.append(name)


def _why_not_version(name: str, version: int, known: Entry | None, seen: bool, history: History) -> str:
    """Why an import does not activate a version; an empty text when it does."""
    if known is None:
        by_hand = seen and name in history.rulesets_by_hand
        return "it was switched off on its own; use `twinmeter rules activate`" if by_hand else ""
    active = known["version"]
    if seen:
        return f"{active} is active, and {version} is known; use `twinmeter rules activate` if it is meant"
    if version < active:
        return f"{active} is active and newer; use `twinmeter rules add` and `activate` if the older one is meant"
    return ""


def _compare_devices(changes: SiteChanges, now: SiteState, wanted: SiteState, history: History) -> None:
    for name, wish in wanted.devices.items():
        known = now.devices.get(name)
        if known is None:
            changes.lines.append(f"+ device {name} {wish['kind']}")
            changes.devices[name] = wish
            continue
        entry = _possible_device(changes, name, known, wish, history.chains.get(name))
        wanted.devices[name] = entry
        lines = _edits(f"device {name}", known, entry)
        if lines:
            changes.lines += lines
            changes.devices[name] = entry
    for name in [name for name in now.devices if name not in wanted.devices]:
        changes.refused.append(f"- device {name}: devices are not removed by an import, their readings stay")
        wanted.devices[name] = now.devices[name]


def _possible_device(changes: SiteChanges, name: str, known: Entry, wish: Entry, chain: ChainState | None) -> Entry:
    """The wished entry without what an import may not do; refusals are noted."""
    entry = dict(wish)
    if known["kind"] != wish["kind"]:
        line = f"~ device {name} kind: {known['kind']} -> {wish['kind']}"
        changes.refused.append(f"{line}: another kind of device needs another id")
        return known
    for key in ("opening_wh", "opening_l"):
        if chain is None or key not in wish or wish[key] == known.get(key):
            continue
        if wish[key] * ratio_of(known) == chain.opening:
            continue  # the file says by now what the first reading said
        line = f"~ device {name} {key}: {_word(known.get(key))} -> {_word(wish.get(key))}"
        changes.refused.append(f"{line}: its register chain is open since {chain.opening}")
        entry.pop(key, None)
        if key in known:
            entry[key] = known[key]
    return entry


def _compare_tenants(changes: SiteChanges, now: SiteState, wanted: SiteState, history: History) -> None:
    for name, wish in wanted.tenants.items():
        known = now.tenants.get(name)
        if known is None:
            changes.lines.append(f"+ tenant {name} {wish['mode']}")
            changes.tenants[name] = wish
            continue
        entry = dict(wish)
        if name in history.booked and wish.get("opening_credit") != known.get("opening_credit"):
            line = f"~ tenant {name} opening_credit: {_word(known.get('opening_credit'))}"
            line = f"{line} -> {_word(wish.get('opening_credit'))}"
            changes.refused.append(f"{line}: it is booked; correct it by a payment or an adjustment")
            entry["opening_credit"] = known["opening_credit"]
        wanted.tenants[name] = entry
        lines = _edits(f"tenant {name}", known, entry)
        if lines:
            changes.lines += lines
            changes.tenants[name] = entry
    for name in [name for name in now.tenants if name not in wanted.tenants]:
        changes.refused.append(f"- tenant {name}: tenants are not removed by an import, their ledger stays")
        wanted.tenants[name] = now.tenants[name]


def _compare_supplies(changes: SiteChanges, now: SiteState, wanted: SiteState, history: History) -> None:
    _succeed(now, wanted, history)
    for key in [key for key in now.supplies if key not in wanted.supplies]:
        row = now.supplies[key]
        line = f"- supply {row.meter} of {row.tenant}"
        if _was_read(history.chains.get(row.meter)):
            changes.refused.append(f"{line}: the meter has been read; give the supply an end (`to`) instead")
            wanted.supplies[key] = row
        else:
            changes.lines.append(line)
            changes.supplies_gone.append(row)
    of_meter: defaultdict[str, list[SupplyKey]] = defaultdict(list)
    for key, row in wanted.supplies.items():
        of_meter[row.meter].append(key)
    for key, row in list(wanted.supplies.items()):
        known = now.supplies.get(key)
        others = (wanted.supplies[one] for one in of_meter[row.meter] if one != key and one in wanted.supplies)
        why = _why_not_supply(row, known, others, history) if row != known else ""
        if why:
            changes.refused.append(f"{'+' if known is None else '~'} supply {row.meter} of {row.tenant}: {why}")
            if known is None:
                del wanted.supplies[key]
            else:
                wanted.supplies[key] = known
        elif known is None:
            changes.lines.append(f"+ supply {row.meter} of {row.tenant} by {row.tariff}")
            changes.supplies.append(row)
        elif known != row:
            changes.lines += _edits(f"supply {row.meter} of {row.tenant}", known.entry, row.entry)
            changes.supplies.append(row)


def _succeed(now: SiteState, wanted: SiteState, history: History) -> None:
    """A meter whose supply the file drops and gives to somebody else changes hands: the old supply ends where the new
    one begins, so that one import says it all."""
    begins = {row.meter: row for key, row in reversed(wanted.supplies.items()) if key not in now.supplies}
    for key, row in now.supplies.items():
        new = begins.get(row.meter)
        if key in wanted.supplies or new is None or not _was_read(history.chains.get(row.meter)):
            continue
        if new.from_ts is not None and row.to_ts is None and (row.from_ts is None or new.from_ts > row.from_ts):
            entry = {**row.entry, "to": new.entry["from"]}
            wanted.supplies[key] = msgspec.structs.replace(row, to_ts=new.from_ts, entry=entry)


def _was_read(chain: ChainState | None) -> bool:
    return chain is not None and (chain.charged or chain.reason != "import")


def _why_not_supply(row: SupplyRow, known: SupplyRow | None, others: Iterable[SupplyRow], history: History) -> str:
    """Why a supply cannot be as the file wants it, beside the others of its meter; an empty text when it can."""
    for other in others:
        if not _overlap(row, other):
            continue
        if row.from_ts is None and known is None and _was_read(history.chains.get(row.meter)):
            return f"tenant {other.tenant} was charged for it; say from when on it is another's (`from`)"
        if (row.from_ts or 0) >= (other.from_ts or 0):
            return f"tenant {other.tenant} pays for it at that time; one of the two needs an end (`to`)"
    return ""


def _overlap(one: SupplyRow, other: SupplyRow) -> bool:
    begins = one.to_ts is None or other.from_ts is None or other.from_ts < one.to_ts
    ends = other.to_ts is None or one.from_ts is None or one.from_ts < other.to_ts
    return begins and ends


def document_digest(document: Entry) -> str:
    """SHA-256 of a document, whatever the order of its keys."""
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()


def _edits(subject: str, known: Entry, wish: Entry) -> list[str]:
    keys = [*known, *(key for key in wish if key not in known)]
    return [
        f"~ {subject} {key}: {_word(known.get(key))} -> {_word(wish.get(key))}"
        for key in keys
        if known.get(key) != wish.get(key)
    ]


def _word(value: Any) -> str:
    return "nothing" if value is None else msgspec.json.encode(value).decode()
