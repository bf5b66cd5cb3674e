# ruff: noqa: RUF012 -- Tortoise declares them so
"""The registry: sites, tenants, devices, occupancy, tariffs and rulesets."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import CreateTable


class Migration(BaseMigration):
    """The registry: sites, tenants, devices, occupancy, tariffs and rulesets."""

    initial = True
    operations = [
        CreateTable(
            "Site",
            [
                ("id", fields.CharField(max_length=64, primary_key=True)),
                ("settings", fields.TextField()),
                ("generation", fields.BigIntField(default=1)),
                ("ledger_position", fields.CharField(max_length=64, default="0-0")),
                ("journal_seq", fields.BigIntField(default=0)),
                ("journal_hash", fields.BinaryField()),
                ("created_ts", fields.BigIntField()),
                ("imported_ts", fields.BigIntField()),
            ],
            {"table": "site", "pk_attr": "id"},
            ("CHECK (journal_seq >= 0 AND generation >= 1)",),
        ),
        CreateTable(
            "Tenant",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("tenant", fields.CharField(max_length=64)),
                ("name", fields.TextField()),
                ("mode", fields.CharField(max_length=16)),
                ("emergency_credit_nano", fields.BigIntField()),
                ("opening_credit_nano", fields.BigIntField(null=True)),
                ("params", fields.TextField()),
                ("protected_until", fields.BigIntField(null=True)),
                ("settings", fields.TextField()),
                ("supply_state", fields.CharField(max_length=32, default="NORMAL")),
                ("supply_state_since", fields.BigIntField(default=0)),
            ],
            {"table": "tenant", "unique_together": (("site", "tenant"),), "pk_attr": "id"},
        ),
        CreateTable(
            "Device",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("device", fields.CharField(max_length=64)),
                ("kind", fields.CharField(max_length=32)),
                ("gateway", fields.CharField(max_length=64, null=True)),
                ("settings", fields.TextField()),
                ("created_ts", fields.BigIntField()),
            ],
            {"table": "device", "unique_together": (("site", "device"),), "pk_attr": "id"},
        ),
        CreateTable(
            "Supply",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("tenant", fields.CharField(max_length=64)),
                ("meter", fields.CharField(max_length=64)),
                ("breaker", fields.CharField(max_length=64, null=True)),
                ("tariff", fields.CharField(max_length=64)),
                ("from_ts", fields.BigIntField(null=True)),
                ("to_ts", fields.BigIntField(null=True)),
                ("settings", fields.TextField()),
            ],
            {"table": "supply", "indexes": (("site", "meter"), ("site", "tenant")), "pk_attr": "id"},
            (
                "CHECK (from_ts IS NULL OR to_ts IS NULL OR to_ts > from_ts)",
                "FOREIGN KEY (site, tenant) REFERENCES tenant (site, tenant)",
                "FOREIGN KEY (site, meter) REFERENCES device (site, device)",
            ),
        ),
        CreateTable(
            "Tariff",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("tariff", fields.CharField(max_length=64)),
                ("utility", fields.CharField(max_length=16)),
                ("current_version", fields.BigIntField()),
            ],
            {"table": "tariff", "unique_together": (("site", "tariff"),), "pk_attr": "id"},
        ),
        CreateTable(
            "TariffVersion",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("tariff", fields.CharField(max_length=64)),
                ("version", fields.BigIntField()),
                ("digest", fields.CharField(max_length=64)),
                ("document", fields.TextField()),
                ("who", fields.CharField(max_length=200)),
                ("ts", fields.BigIntField()),
            ],
            {"table": "tariff_version", "unique_together": (("site", "tariff", "version"),), "pk_attr": "id"},
            ("FOREIGN KEY (site, tariff) REFERENCES tariff (site, tariff)",),
        ),
        CreateTable(
            "Ruleset",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("ruleset", fields.CharField(max_length=64)),
                ("active_version", fields.BigIntField(null=True)),
            ],
            {"table": "ruleset", "unique_together": (("site", "ruleset"),), "pk_attr": "id"},
        ),
        CreateTable(
            "RulesetVersion",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("ruleset", fields.CharField(max_length=64)),
                ("version", fields.BigIntField()),
                ("digest", fields.CharField(max_length=64)),
                ("document", fields.TextField()),
                ("who", fields.CharField(max_length=200)),
                ("ts", fields.BigIntField()),
            ],
            {"table": "ruleset_version", "unique_together": (("site", "ruleset", "version"),), "pk_attr": "id"},
            ("FOREIGN KEY (site, ruleset) REFERENCES ruleset (site, ruleset)",),
        ),
    ]
