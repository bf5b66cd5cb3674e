# ruff: noqa: RUF012 -- Tortoise declares them so
"""Adjustments of posted energy, the queue of meters to be rated again, the tariffs that supplies had, and
the use of a year beside that of a month.

An adjustment gives a part of a posted interval to another payer or price. It is posted for good, like the interval; the
database refuses one that lies in no posted interval, whose amounts do not follow from its prices, or that does not
take over where its predecessor stands.
"""

from importlib import import_module

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import AddColumn, CreateTable, RunStatements

# A module's name cannot begin with a digit in an import statement.
guards = import_module("adapters.store.migrations.0006_guards")

KEYS = (("site", "number"),)
_LIES_INSIDE = (
    "EXISTS (SELECT 1 FROM energy e WHERE e.site = NEW.site AND e.meter = NEW.meter AND e.epoch = NEW.epoch"
    " AND e.from_qty = NEW.original_from AND e.to_qty >= NEW.to_qty)"
)
_TAKES_OVER = (
    "(NEW.supersedes IS NULL OR EXISTS (SELECT 1 FROM adjustment a WHERE a.site = NEW.site"
    " AND a.number = NEW.supersedes AND a.number < NEW.number AND a.meter = NEW.meter AND a.epoch = NEW.epoch"
    " AND a.from_qty <= NEW.from_qty AND a.to_qty >= NEW.to_qty AND a.account = NEW.old_account"
    " AND a.price_micro = NEW.old_price_micro AND a.month = NEW.old_month))"
)
_INSIDE = "an adjustment must lie in one posted interval"
_CHAIN = "an adjustment must take over what the adjustment before it left"

SQLITE = [
    *guards.sqlite_keeps("adjustment", KEYS, updates=True),
    *guards.sqlite_keeps("supply_tariff", (), updates=True),
    guards.sqlite_trigger("adjustment_has_energy", "BEFORE INSERT ON adjustment", f"NOT {_LIES_INSIDE}", _INSIDE),
    guards.sqlite_trigger("adjustment_takes_over", "BEFORE INSERT ON adjustment", f"NOT {_TAKES_OVER}", _CHAIN),
]
POSTGRES = [
    guards.postgres_function(
        "twinmeter_adjustment_holds",
        f"IF NOT {_LIES_INSIDE} THEN {guards.REFUSE} '{_INSIDE}'; END IF;"
        f" IF NOT {_TAKES_OVER} THEN {guards.REFUSE} '{_CHAIN}'; END IF; RETURN NEW;",
    ),
    *guards.postgres_trigger(
        "adjustment_holds", "adjustment", "BEFORE INSERT ON {table} FOR EACH ROW", "twinmeter_adjustment_holds"
    ),
    *(
        statement
        for table in ("adjustment", "supply_tariff")
        for statement in (
            *guards.postgres_trigger(
                f"{table}_keep", table, "BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW", "twinmeter_keep"
            ),
            *guards.postgres_trigger(f"{table}_keep_all", table, "BEFORE TRUNCATE ON {table}", "twinmeter_keep"),
        )
    ),
]


class Migration(BaseMigration):
    """Tables `adjustment` and `supply_tariff` (posted for good) and `rerate_mark` (a queue)."""

    dependencies = [("store", "0006_guards")]
    operations = [
        CreateTable(
            "Adjustment",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("number", fields.BigIntField()),
                ("batch", fields.BigIntField()),
                ("meter", fields.CharField(max_length=64)),
                ("epoch", fields.BigIntField()),
                ("from_qty", fields.BigIntField()),
                ("to_qty", fields.BigIntField()),
                ("from_ts", fields.BigIntField()),
                ("to_ts", fields.BigIntField()),
                ("original_from", fields.BigIntField()),
                ("supersedes", fields.BigIntField(null=True)),
                ("utility", fields.CharField(max_length=16)),
                ("old_tenant", fields.CharField(max_length=64)),
                ("old_account", fields.CharField(max_length=128)),
                ("old_tariff", fields.CharField(max_length=64)),
                ("old_version", fields.BigIntField()),
                ("old_month", fields.BigIntField()),
                ("old_period", fields.CharField(max_length=64, null=True)),
                ("old_tier", fields.BigIntField(null=True)),
                ("old_price_micro", fields.BigIntField()),
                ("old_amount_nano", fields.BigIntField()),
                ("tenant", fields.CharField(max_length=64)),
                ("account", fields.CharField(max_length=128)),
                ("tariff", fields.CharField(max_length=64)),
                ("version", fields.BigIntField()),
                ("month", fields.BigIntField()),
                ("period", fields.CharField(max_length=64, null=True)),
                ("tier", fields.BigIntField(null=True)),
                ("price_micro", fields.BigIntField()),
                ("amount_nano", fields.BigIntField()),
                ("estimated", fields.BooleanField()),
                ("reason", fields.CharField(max_length=200)),
                ("ts", fields.BigIntField()),
            ],
            {
                "table": "adjustment",
                "unique_together": (("site", "number"),),
                "indexes": (("site", "meter", "epoch", "from_qty"), ("site", "batch")),
                "pk_attr": "id",
            },
            (
                "CHECK (number >= 1 AND batch >= 1 AND batch <= number)",
                "CHECK (to_qty > from_qty AND from_qty >= original_from)",
                "CHECK (amount_nano = (to_qty - from_qty) * price_micro)",
                "CHECK (old_amount_nano = (to_qty - from_qty) * old_price_micro)",
            ),
        ),
        CreateTable(
            "RerateMark",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("meter", fields.CharField(max_length=64)),
                ("from_ts", fields.BigIntField()),
                ("reason", fields.CharField(max_length=200)),
                ("sticky", fields.BooleanField()),
                ("due", fields.BooleanField()),
                ("ts", fields.BigIntField()),
                ("version", fields.BigIntField()),
                ("head_ts", fields.BigIntField(null=True)),
                ("trouble", fields.TextField()),
            ],
            {"table": "rerate_mark", "unique_together": (("site", "meter"),), "pk_attr": "id"},
        ),
        CreateTable(
            "SupplyTariff",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("tenant", fields.CharField(max_length=64)),
                ("meter", fields.CharField(max_length=64)),
                ("supply_from", fields.BigIntField(null=True)),
                ("from_ts", fields.BigIntField(null=True)),
                ("tariff", fields.CharField(max_length=64)),
                ("who", fields.CharField(max_length=200)),
                ("ts", fields.BigIntField()),
            ],
            {"table": "supply_tariff", "indexes": (("site", "meter"),), "pk_attr": "id"},
        ),
        AddColumn("RegisterEpoch", "register_epoch", "year_use", fields.BigIntField(default=0)),
        AddColumn("RegisterEpoch", "register_epoch", "carried_year_use", fields.BigIntField(default=0)),
        RunStatements(sqlite=SQLITE, postgres=POSTGRES),
    ]
