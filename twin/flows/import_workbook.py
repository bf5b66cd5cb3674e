"""Import from Excel: what a workbook says is put into the site's document, which then goes the way of every site file.

Theory of operation. A workbook changes entries and adds some; nothing it does not name is touched, and an empty cell
leaves what is there. The result is a whole site document, so its check, its difference, its refusals, its audit and its
acts are those of any import, and importing a workbook twice changes nothing. Every place in the document remembers the
cell it came from, so a problem that only the whole site shows is told at its cell.

A preview says what would change and names that set of changes by a hash, the *plan*. Applying repeats the plan, so
nothing is written that nobody has seen: when the site or the file has changed meanwhile, the plan is another one.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from billing.money import MoneyError, parse_money
from schemas.registry import problems as schema_problems
from twin.flows.import_site import Imported, import_site
from twin.ports import SiteChangedError, SiteDocument
from twin.workbook import DEVICES, SUPPLIES, TENANTS, CellProblem, Place, SheetRow, Workbook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twin.flows.import_site import Parts
    from twin.ports import SiteDifference

_METERS = {"electricity_meter": "electricity", "water_meter": "water"}
_OPENING = {"electricity_meter": "opening_wh", "water_meter": "opening_l"}
_MONEY = ("opening_credit", "emergency_credit")


class Reader(Protocol):
    """Reads workbooks; `adapters.documents` does."""

    def read_workbook(self, data: bytes) -> Workbook:
        """What an Excel file says."""
        ...


class Preview(msgspec.Struct, frozen=True):
    """What an import of a workbook would do. With problems nothing can be applied; `plan` names the changes."""

    problems: tuple[CellProblem, ...]
    notes: tuple[CellProblem, ...]
    lines: tuple[str, ...]
    refused: tuple[str, ...]
    rows: dict[str, int]
    plan: str


class PlanChangedError(Exception):
    """What would be applied is not what was previewed; `preview` is the new one."""

    def __init__(self, preview: Preview) -> None:
        super().__init__("the site or the file has changed since the preview")
        self.preview = preview


async def preview_workbook(parts: Parts, site: str, workbook: Workbook) -> Preview:
    """What an import would do; changes nothing. LookupError for a site that was never imported."""
    preview, _ = await _planned(parts, site, workbook)
    return preview


async def import_workbook(
    parts: Parts,
    site: str,
    workbook: Workbook,
    *,
    plan: str | None,
    who: str,
    progress: Callable[[str, int, int], object] | None = None,
) -> tuple[Preview, Imported | None]:
    """Apply a workbook whose preview had this plan (None: whatever it is). With problems nothing is applied.

    Raises PlanChangedError and LookupError; nothing was changed then.
    """
    preview, document = await _planned(parts, site, workbook)
    if preview.problems:
        return preview, None
    if plan is not None and plan != preview.plan:
        raise PlanChangedError(preview)
    agreed = msgspec.structs.replace(document, expected=preview.lines)
    try:
        return preview, await import_site(parts, agreed, who=who, progress=progress)
    except SiteChangedError:
        changed, _ = await _planned(parts, site, workbook)
        raise PlanChangedError(changed) from None


async def _planned(parts: Parts, site: str, workbook: Workbook) -> tuple[Preview, SiteDocument]:
    document = await parts.registry.document(site)
    merging = _Merging(document, workbook)
    merged = merging.document()
    difference: SiteDifference | None = None
    if not merging.problems:
        try:
            difference = await parts.registry.difference(merged)
        except Exception as error:
            found = getattr(error, "problems", None)
            if found is None:
                raise
            merging.problems += [merging.located(problem) for problem in found]
    lines = difference.lines if difference else ()
    refused = difference.refused if difference else ()
    rows = {sheet: len(found) for sheet, found in workbook.rows.items()}
    plan = sha256(msgspec.json.encode([site, lines, refused])).hexdigest()
    return Preview(tuple(merging.problems), tuple(workbook.notes), lines, refused, rows, plan), merged


class _Merging:
    """A workbook being put into a site document."""

    def __init__(self, document: SiteDocument, workbook: Workbook) -> None:
        self.before = document
        self.workbook = workbook
        self.problems = list(workbook.problems)
        self.tenants: dict[str, dict[str, Any]] = {e["id"]: dict(e) for e in document.site.get("tenants", ())}
        self.devices: dict[str, dict[str, Any]] = {e["id"]: dict(e) for e in document.site.get("devices", ())}
        self.gateways = {entry["id"] for entry in document.site.get("gateways", ())}
        self.rows: dict[tuple[str, str], SheetRow] = {}
        self.supply_rows: dict[tuple[str, int], SheetRow] = {}

    def document(self) -> SiteDocument:
        """The merged document; problems are collected."""
        site = self.before.site["site"]
        if self.workbook.site and self.workbook.site != site:
            self._wrong(
                Place("", ""),
                f"此文件是园区 {self.workbook.site} 的，不是 {site} 的",
                f"this workbook is for the site {self.workbook.site}, not for {site}",
            )
        for row in self._unique(DEVICES.key):
            self._device(row)
        for row in self._unique(TENANTS.key):
            self._tenant(row)
        for row in self.workbook.rows.get(SUPPLIES.key, ()):
            self._supply(row)
        self._check_schema()
        merged = {**self.before.site, "devices": list(self.devices.values()), "tenants": list(self.tenants.values())}
        return SiteDocument(merged, self.before.tariffs, self.before.rulesets)

    def located(self, problem: str) -> CellProblem:
        """A problem of the whole document (`tenants[3].supplies[0].tariff: ...`) at the cell it came from."""
        path, separator, message = problem.partition(": ")
        place = self._place_of(path) if separator else Place("", "")
        return CellProblem(place, f"与园区资料不符：{message or problem}", message or problem)

    def _place_of(self, path: str) -> Place:
        listed, _, rest = path.partition("[")
        number, _, field = rest.partition("]")
        if listed not in ("tenants", "devices") or not number.isdecimal():
            return Place("", "")
        entries = self.tenants if listed == "tenants" else self.devices
        ids = list(entries)
        if int(number) >= len(ids):
            return Place("", "")
        name, field = ids[int(number)], field.removeprefix(".")
        if field.startswith("supplies["):
            index, _, field = field.removeprefix("supplies[").partition("]")
            row = self.supply_rows.get((name, int(index)))
            return row.place(field.removeprefix(".")) if row else Place("", "")
        row = self.rows.get((listed, name))
        return (
            row.place("opening" if field.startswith("opening_") and field != "opening_credit" else field)
            if row
            else Place("", "")
        )

    def _wrong(self, place: Place, zh: str, en: str) -> None:
        self.problems.append(CellProblem(place, zh, en))

    def _unique(self, sheet: str) -> Iterable[SheetRow]:
        """Rows with an id; the second row of an id is a problem."""
        for row in self.workbook.rows.get(sheet, ()):
            name = row.values.get("id")
            if name is None:
                continue
            first = self.rows.get((sheet, name))
            if first is not None:
                cell = first.place("id").cell
                self._wrong(row.place("id"), f"编号 {name} 与 {cell} 重复", f"{name} is in {cell} already")
                continue
            self.rows[sheet, name] = row
            yield row

    def _device(self, row: SheetRow) -> None:
        name = row.values["id"]
        known = self.devices.get(name)
        entry = _merged(known or {"id": name}, row, skip=("opening",))
        if name in self.gateways:
            self._wrong(row.place("id"), f"{name} 是网关的编号", f"{name} is the id of a gateway")
        if "kind" not in entry:
            self._wrong(row.place("kind"), "新设备必须填写类型", "a new device needs a kind")
            return
        opening = row.values.get("opening")
        if opening is not None and entry["kind"] in _OPENING:
            entry[_OPENING[entry["kind"]]] = opening
        elif opening is not None:
            self._wrong(row.place("opening"), "断路器没有读数", "a breaker has no register")
        gateway = entry.get("gateway")
        if gateway is not None and gateway not in self.gateways:
            self._wrong(row.place("gateway"), f"园区没有网关 {gateway}", f"the site has no gateway {gateway}")
        self.devices[name] = entry

    def _tenant(self, row: SheetRow) -> None:
        name = row.values["id"]
        known = self.tenants.get(name)
        entry = _merged(known or {"id": name, "mode": "prepaid"}, row)
        for key in _MONEY:
            if known and key in known and key in row.values and _same_money(known[key], row.values[key]):
                entry[key] = known[key]
        self.tenants[name] = entry

    def _supply(self, row: SheetRow) -> None:
        tenant, meter = row.values.get("tenant"), row.values.get("meter")
        if tenant is None or meter is None:
            return
        if tenant not in self.tenants:
            self._wrong(row.place("tenant"), f"没有租户 {tenant}", f"there is no tenant {tenant}")
            return
        kind = self.devices.get(meter, {}).get("kind")
        if kind not in _METERS:
            self._wrong(row.place("meter"), f"没有表计 {meter}", f"there is no meter {meter}")
            return
        wish = {key: value for key, value in row.values.items() if key != "tenant"}
        entry = self.tenants[tenant]
        supplies = list(entry.get("supplies", ()))
        place = _matching(supplies, wish)
        merged = {**(supplies[place] if place is not None else {}), **wish}
        if place is not None and _same_instant(supplies[place].get("from"), wish.get("from")):
            merged |= {"from": supplies[place]["from"]} if "from" in supplies[place] else {}
        if self._supply_is_wrong(row, merged, kind):
            return
        if place is None:
            place = len(supplies)
            supplies.append(merged)
        elif (tenant, place) in self.supply_rows:
            cell = self.supply_rows[tenant, place].place("meter").cell
            self._wrong(row.place("meter"), f"与 {cell} 是同一条", f"the same supply as in {cell}")
        supplies[place] = merged
        self.supply_rows[tenant, place] = row
        self.tenants[tenant] = {**entry, "supplies": supplies}

    def _supply_is_wrong(self, row: SheetRow, supply: dict[str, Any], kind: str) -> bool:
        before = len(self.problems)
        tariff = supply.get("tariff")
        if tariff is None:
            self._wrong(row.place("tariff"), "必须填写电价/水价", "a supply needs a tariff")
        elif tariff not in self.before.tariffs:
            known = "、".join(sorted(self.before.tariffs)) or "-"
            self._wrong(row.place("tariff"), f"没有电价 {tariff}，可选：{known}", f"no tariff {tariff}; known: {known}")
        elif self.before.tariffs[tariff]["utility"] != _METERS[kind]:
            utility = self.before.tariffs[tariff]["utility"]
            self._wrong(
                row.place("tariff"),
                f"{tariff} 是 {utility} 的价格，与表计不符",
                f"{tariff} prices {utility}, the meter is a {kind}",
            )
        breaker = supply.get("breaker")
        if breaker is not None and breaker not in self.devices:
            self._wrong(row.place("breaker"), f"没有设备 {breaker}", f"there is no device {breaker}")
        return len(self.problems) > before

    def _check_schema(self) -> None:
        """The entries that the workbook touches, by the schema of site files."""
        for listed, entries in (("tenants", self.tenants), ("devices", self.devices)):
            names = [name for sheet, name in self.rows if sheet == listed and name in entries]
            probe = {
                "apiVersion": "twinmeter.site/v1",
                "site": "probe",
                "timezone": "UTC",
                "currency": "CNY",
                listed: [{k: v for k, v in entries[name].items() if k != "supplies"} for name in names],
            }
            for problem in schema_problems("site", probe):
                number, _, field = problem.path.removeprefix(f"{listed}[").partition("]")
                row = self.rows[listed, names[int(number)]] if number.isdecimal() else None
                place = row.place(_field_of(field)) if row else Place("", "")
                self._wrong(place, f"不符合规定：{problem.message}", problem.message)


def _merged(known: dict[str, Any], row: SheetRow, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """An entry with the values of a row; `contact.phone` goes into `contact`, names by language into one name."""
    entry = dict(known)
    for key, value in row.values.items():
        outer, dot, inner = key.partition(".")
        if key in skip:
            continue
        if not dot:
            entry[key] = value
        elif outer == "name":
            entry["name"] = _renamed(entry.get("name"), inner, value)
        else:
            entry[outer] = {**entry.get(outer, {}), inner: value}
    return entry


def _renamed(name: Any, language: str, text: str) -> Any:
    """A name with one of its languages set; one that says no language stays plain while only Chinese is given."""
    if isinstance(name, dict):
        return {**name, language: text}
    if language == "zh":
        return text
    return {"zh": name, language: text} if name else {language: text}


def _matching(supplies: list[dict[str, Any]], wish: dict[str, Any]) -> int | None:
    """The supply that a row is about: of the same meter and beginning, or the only open one of that meter."""
    same = [place for place, entry in enumerate(supplies) if entry["meter"] == wish["meter"]]
    for place in same:
        if _same_instant(supplies[place].get("from"), wish.get("from")):
            return place
    still_open = [place for place in same if "to" not in supplies[place]]
    return still_open[0] if "from" not in wish and len(still_open) == 1 else None


def _same_instant(one: str | None, other: str | None) -> bool:
    """Two local instants written with or without seconds."""
    if one is None or other is None:
        return one is other
    return one.ljust(19, "\0")[:19].replace("\0", "") == other or f"{one}:00" == other or one == f"{other}:00"


def _same_money(one: str, other: str) -> bool:
    try:
        return parse_money(one) == parse_money(other)
    except MoneyError:
        return False


def _field_of(path: str) -> str:
    """The field of a workbook that a path inside an entry belongs to."""
    field = path.removeprefix(".")
    return {"opening_wh": "opening", "opening_l": "opening", "name": "name.zh"}.get(field, field)
