# ruff: noqa: RUF012 -- Tortoise declares them so
"""Incidents, alarms, commands, locks and the histories of devices."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import CreateTable


class Migration(BaseMigration):
    """Incidents, alarms, commands, locks and the histories of devices."""

    dependencies = [("store", "0003_money")]
    operations = [
        CreateTable(
            "Incident",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("device", fields.CharField(max_length=64)),
                ("kind", fields.CharField(max_length=64)),
                ("since", fields.BigIntField()),
                ("count", fields.BigIntField(default=1)),
                ("detail", fields.TextField()),
                ("resolved_ts", fields.BigIntField(null=True)),
            ],
            {"table": "incident", "unique_together": (("site", "device", "kind", "since"),), "pk_attr": "id"},
        ),
        CreateTable(
            "Alarm",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("rule", fields.CharField(max_length=128)),
                ("rule_version", fields.BigIntField()),
                ("twin", fields.CharField(max_length=72)),
                ("tenant", fields.CharField(max_length=64)),
                ("since", fields.BigIntField()),
                ("changed_ts", fields.BigIntField()),
                ("cleared_ts", fields.BigIntField(null=True)),
                ("severity", fields.CharField(max_length=16)),
                ("active", fields.BooleanField()),
                ("because", fields.TextField()),
            ],
            {
                "table": "alarm",
                "unique_together": (("site", "rule", "twin", "since"),),
                "indexes": (("site", "active"),),
                "pk_attr": "id",
            },
        ),
        CreateTable(
            "Command",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("cmd", fields.CharField(max_length=64)),
                ("device", fields.CharField(max_length=64)),
                ("tenant", fields.CharField(max_length=64)),
                ("op", fields.CharField(max_length=32)),
                ("target", fields.CharField(max_length=16)),
                ("fence", fields.BigIntField()),
                ("state", fields.CharField(max_length=16)),
                ("ts", fields.BigIntField()),
                ("issued", fields.BigIntField()),
                ("exp", fields.BigIntField()),
                ("why", fields.TextField()),
                ("reason", fields.TextField()),
            ],
            {
                "table": "command",
                "unique_together": (("site", "cmd"),),
                "indexes": (("site", "device", "fence"),),
                "pk_attr": "id",
            },
        ),
        CreateTable(
            "CommandStep",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("cmd", fields.CharField(max_length=64)),
                ("state", fields.CharField(max_length=16)),
                ("ts", fields.BigIntField()),
                ("reason", fields.TextField()),
            ],
            {"table": "command_step", "unique_together": (("site", "cmd", "state", "ts"),), "pk_attr": "id"},
        ),
        CreateTable(
            "StandingLock",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("breaker", fields.CharField(max_length=64)),
                ("lock", fields.CharField(max_length=32)),
                ("active", fields.BooleanField()),
                ("who", fields.CharField(max_length=200)),
                ("why", fields.TextField()),
                ("ts", fields.BigIntField()),
                ("until", fields.BigIntField(null=True)),
                ("rule", fields.CharField(max_length=128)),
                ("rule_version", fields.BigIntField()),
            ],
            {"table": "standing_lock", "unique_together": (("site", "breaker", "lock"),), "pk_attr": "id"},
        ),
        CreateTable(
            "LockChange",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("breaker", fields.CharField(max_length=64)),
                ("lock", fields.CharField(max_length=32)),
                ("active", fields.BooleanField()),
                ("who", fields.CharField(max_length=200)),
                ("why", fields.TextField()),
                ("ts", fields.BigIntField()),
                ("until", fields.BigIntField(null=True)),
                ("rule", fields.CharField(max_length=128)),
                ("rule_version", fields.BigIntField()),
            ],
            {
                "table": "lock_change",
                "unique_together": (("site", "breaker", "lock", "ts", "active"),),
                "pk_attr": "id",
            },
        ),
        CreateTable(
            "RelayReport",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("breaker", fields.CharField(max_length=64)),
                ("relay", fields.CharField(max_length=16)),
                ("ts", fields.BigIntField()),
                ("cause", fields.CharField(max_length=200)),
            ],
            {"table": "relay_report", "unique_together": (("site", "breaker", "ts", "relay"),), "pk_attr": "id"},
        ),
        CreateTable(
            "SupplyChange",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("tenant", fields.CharField(max_length=64)),
                ("state_before", fields.CharField(max_length=32)),
                ("state_after", fields.CharField(max_length=32)),
                ("ts", fields.BigIntField()),
                ("balance_nano", fields.BigIntField()),
                ("held", fields.TextField()),
            ],
            {
                "table": "supply_change",
                "unique_together": (("site", "tenant", "ts", "state_before", "state_after"),),
                "pk_attr": "id",
            },
        ),
        CreateTable(
            "ConnectionChange",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("device", fields.CharField(max_length=64)),
                ("state", fields.CharField(max_length=16)),
                ("sid", fields.CharField(max_length=64)),
                ("ts", fields.BigIntField()),
                ("gateway", fields.BooleanField()),
            ],
            {
                "table": "connection_change",
                "unique_together": (("site", "device", "ts", "state", "sid"),),
                "pk_attr": "id",
            },
        ),
    ]
