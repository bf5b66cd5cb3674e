# ruff: noqa: RUF012, S608 -- Tortoise declares them so; every name below is a constant
"""Who activated which version of a ruleset, when and why; versions that are tried in the shadow of the active one.

Until now the import of a new version was what activated it, so the record begins with those. It is append-only, as the
audit is.
"""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import CreateTable, RunStatements

KEEP = "ruleset_activation rows are kept for good"
BEGINNING = (
    "INSERT INTO ruleset_activation (site, ruleset, version, previous, ts, who, why, source)"
    " SELECT v.site, v.ruleset, v.version, (SELECT p.version FROM ruleset_version p WHERE p.site = v.site"
    " AND p.ruleset = v.ruleset AND p.id < v.id ORDER BY p.id DESC LIMIT 1), v.ts, v.who, 'site import', 'import'"
    " FROM ruleset_version v WHERE NOT EXISTS (SELECT 1 FROM ruleset_activation a WHERE a.site = v.site"
    " AND a.ruleset = v.ruleset) ORDER BY v.id"
)
"""What was imported was active from then on; repeated, it adds nothing."""
SINCE = (
    "INSERT INTO ruleset_activation (site, ruleset, version, previous, ts, who, why, source)"
    " SELECT r.site, r.ruleset, r.active_version, l.version, s.imported_ts, 'migration', 'site import', 'import'"
    " FROM ruleset r JOIN site s ON s.id = r.site JOIN ruleset_activation l ON l.id = (SELECT max(a.id)"
    " FROM ruleset_activation a WHERE a.site = r.site AND a.ruleset = r.ruleset)"
    " WHERE COALESCE(l.version, -1) <> COALESCE(r.active_version, -1)"
)
"""Where an older version was imported again, or the ruleset was switched off: what is active now comes last."""


def _sqlite(event: str) -> str:
    return (
        f"CREATE TRIGGER IF NOT EXISTS ruleset_activation_no_{event.lower()} BEFORE {event} ON ruleset_activation"
        f" BEGIN SELECT RAISE(ABORT, '{KEEP}'); END"
    )


NO_REPLACE = (
    "CREATE TRIGGER IF NOT EXISTS ruleset_activation_no_replace BEFORE INSERT ON ruleset_activation"
    f" BEGIN SELECT RAISE(ABORT, '{KEEP}') WHERE EXISTS (SELECT 1 FROM ruleset_activation WHERE id = NEW.id); END"
)
POSTGRES = [
    statement
    for name, when in (
        ("ruleset_activation_keep", "BEFORE UPDATE OR DELETE ON ruleset_activation FOR EACH ROW"),
        ("ruleset_activation_keep_all", "BEFORE TRUNCATE ON ruleset_activation"),
    )
    for statement in (
        f"DROP TRIGGER IF EXISTS {name} ON ruleset_activation",
        f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION twinmeter_keep()",
    )
]


class Migration(BaseMigration):
    """Activations of rulesets, and shadow runs."""

    dependencies = [("store", "0011_history")]
    operations = [
        CreateTable(
            "RulesetActivation",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("ruleset", fields.CharField(max_length=64)),
                ("version", fields.BigIntField(null=True)),
                ("previous", fields.BigIntField(null=True)),
                ("ts", fields.BigIntField()),
                ("who", fields.CharField(max_length=200)),
                ("why", fields.TextField()),
                ("source", fields.CharField(max_length=16)),
            ],
            {"table": "ruleset_activation", "indexes": (("site", "ruleset", "id"),), "pk_attr": "id"},
        ),
        CreateTable(
            "RuleShadow",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("ruleset", fields.CharField(max_length=64)),
                ("version", fields.BigIntField()),
                ("state", fields.CharField(max_length=16)),
                ("started_ts", fields.BigIntField()),
                ("started_by", fields.CharField(max_length=200)),
                ("stopped_ts", fields.BigIntField(null=True)),
                ("stopped_by", fields.CharField(max_length=200, null=True)),
                ("seen_ts", fields.BigIntField(null=True)),
                ("messages", fields.BigIntField(default=0)),
                ("detail", fields.TextField()),
            ],
            {"table": "rule_shadow", "indexes": (("site", "state"),), "pk_attr": "id"},
        ),
        CreateTable(
            "ShadowFinding",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("shadow", fields.BigIntField()),
                ("side", fields.CharField(max_length=16)),
                ("kind", fields.CharField(max_length=32)),
                ("rule", fields.CharField(max_length=128)),
                ("twin", fields.CharField(max_length=72)),
                ("tenant", fields.CharField(max_length=72)),
                ("ts", fields.BigIntField()),
                ("detail", fields.CharField(max_length=200)),
            ],
            {
                "table": "shadow_finding",
                "unique_together": (("shadow", "side", "kind", "rule", "twin", "ts", "detail"),),
                "pk_attr": "id",
            },
        ),
        RunStatements(both=[BEGINNING, SINCE]),
        RunStatements(
            sqlite=[_sqlite("UPDATE"), _sqlite("DELETE"), NO_REPLACE],
            postgres=POSTGRES,
        ),
    ]
