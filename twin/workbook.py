"""Tenants and meters as an Excel workbook says them: the sheets, their columns, and what was read from the cells.

A workbook adds to a site and changes it; it never removes anything, and an empty cell leaves what is there. Cells are
read to plain values here and put into the site document by `twin.flows.import_workbook`, so a workbook passes the same
checks, the same difference and the same audit as a site file.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

Kind = Literal["id", "text", "choice", "yes_no", "money", "credit", "weight", "count", "register", "local"]
"""What a cell holds. `register`: kWh or m3 with at most three decimals, kept as Wh or litres. `local`: a local date or
instant. Amounts and weights are decimal texts, so nothing is rounded."""


class Choice(msgspec.Struct, frozen=True):
    """One value of a choice, and what people may write for it."""

    value: Any
    zh: str
    en: str


class Field(msgspec.Struct, frozen=True):
    """One column."""

    key: str
    zh: str
    en: str
    kind: Kind = "text"
    required: bool = False
    choices: tuple[Choice, ...] = ()
    names: str = ""
    """What its ids name: `tenants`, `meters`, `devices`, `gateways`, `tariffs`; a drop-down offers them."""
    least: int = 0
    most: int = 100_000
    longest: int = 200
    width: int = 16


class Sheet(msgspec.Struct, frozen=True):
    """One sheet. `keys` tell its rows apart."""

    key: str
    zh: str
    en: str
    fields: tuple[Field, ...]
    keys: tuple[str, ...]

    @property
    def title(self) -> str:
        """The name of the sheet."""
        return f"{self.zh} {self.en}"


class Place(msgspec.Struct, frozen=True):
    """A cell as people find it: `租户!C7`."""

    sheet: str
    cell: str

    def __str__(self) -> str:
        return f"{self.sheet}!{self.cell}" if self.cell else self.sheet


class CellProblem(msgspec.Struct, frozen=True):
    """What is wrong at a cell and what would be right, in both languages."""

    place: Place
    zh: str
    en: str


class SheetRow(msgspec.Struct, frozen=True):
    """The values of one row that are there, by field, and the cell of each."""

    sheet: str
    number: int
    values: dict[str, Any]
    cells: dict[str, Place]

    def place(self, key: str = "") -> Place:
        """The cell of a field; the row's first one where the field has no value."""
        return self.cells.get(key) or next(iter(self.cells.values()), Place(self.sheet, f"A{self.number}"))


class Workbook(msgspec.Struct):
    """What a workbook says. `notes` are readings that a person should look at; `problems` refuse the whole file."""

    site: str = ""
    rows: dict[str, list[SheetRow]] = msgspec.field(default_factory=dict)
    problems: list[CellProblem] = msgspec.field(default_factory=list)
    notes: list[CellProblem] = msgspec.field(default_factory=list)

    def wrong(self, place: Place, zh: str, en: str) -> None:
        """Note a problem."""
        self.problems.append(CellProblem(place, zh, en))


YES_NO: Final = (Choice(True, "是", "yes"), Choice(False, "否", "no"))
MODES: Final = (Choice("prepaid", "预付费", "prepaid"), Choice("postpaid", "后付费", "postpaid"))
KINDS: Final = (
    Choice("electricity_meter", "电表", "electricity_meter"),
    Choice("water_meter", "水表", "water_meter"),
    Choice("breaker", "断路器", "breaker"),
)
PHASES: Final = (Choice(1, "单相", "1"), Choice(3, "三相", "3"))
TENANTS: Final = Sheet(
    "tenants",
    "租户",
    "Tenants",
    (
        Field("id", "租户编号", "Tenant id", "id", required=True),
        Field("name.zh", "名称", "Name", width=24),
        Field("name.en", "英文名称", "English name", width=24),
        Field("mode", "付费方式", "Mode", "choice", choices=MODES),
        Field("opening_credit", "开户余额", "Opening balance", "money"),
        Field("emergency_credit", "透支额度", "Emergency credit", "credit"),
        Field("holder", "所属客户", "Holder", "id", names="tenants"),
        Field("group", "分组", "Group", "id"),
        Field("area_m2", "面积 m²", "Area m²", "weight"),
        Field("households", "户数", "Households", "count"),
        Field("coefficient", "分摊系数", "Coefficient", "weight"),
        Field("capacity_kw", "容量 kW", "Capacity kW", "weight"),
        Field("contact.person", "联系人", "Contact", longest=128),
        Field("contact.phone", "电话", "Phone", longest=32, width=20),
        Field("contact.email", "邮箱", "E-mail", width=24),
        Field("language", "语言", "Language", width=10),
    ),
    ("id",),
)
DEVICES: Final = Sheet(
    "devices",
    "设备",
    "Devices",
    (
        Field("id", "设备编号", "Device id", "id", required=True),
        Field("kind", "类型", "Kind", "choice", choices=KINDS),
        Field("name.zh", "名称", "Name", width=24),
        Field("name.en", "英文名称", "English name", width=24),
        Field("gateway", "网关", "Gateway", "id", names="gateways"),
        Field("relay", "内置继电器", "Relay", "yes_no", choices=YES_NO),
        Field("valve", "内置阀门", "Valve", "yes_no", choices=YES_NO),
        Field("remote_close", "可远程合闸", "Remote close", "yes_no", choices=YES_NO),
        Field("opening", "起码 kWh/m³", "Opening register", "register"),
        Field("phases", "相数", "Phases", "choice", choices=PHASES),
        Field("imax_a", "最大电流 A", "Greatest current A", "count", least=1),
        Field("ratio", "互感器倍率", "Transformer ratio", "count", least=1, most=1_000_000),
        Field("vendor", "厂家", "Vendor", longest=128),
        Field("model", "型号", "Model", longest=128),
        Field("serial", "出厂编号", "Serial number", longest=128, width=20),
        Field("location", "安装位置", "Location", width=24),
    ),
    ("id",),
)
SUPPLIES: Final = Sheet(
    "supplies",
    "用能",
    "Supplies",
    (
        Field("tenant", "租户编号", "Tenant id", "id", required=True, names="tenants"),
        Field("meter", "表号", "Meter id", "id", required=True, names="meters"),
        Field("tariff", "电价/水价", "Tariff", "id", names="tariffs"),
        Field("breaker", "断路器", "Breaker id", "id", names="devices"),
        Field("capacity_kw", "容量 kW", "Capacity kW", "weight"),
        Field("from", "起始时间", "From", "local", width=20),
        Field("to", "结束时间", "To", "local", width=20),
    ),
    ("tenant", "meter", "from"),
)
SHEETS: Final = (TENANTS, DEVICES, SUPPLIES)
README: Final = "说明 Read me"
SITE_CELL: Final = "B2"
"""Where the read-me sheet names the site the workbook is for."""
