# ruff: noqa: RUF012 -- Tortoise declares them so
"""Approvals, debts and their recoveries, refunds, corrections, states of accounts and anchors of the ledger."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.guard_statements import postgres_moving, postgres_posted, sqlite_moving, sqlite_posted
from adapters.store.engine.schema_operations import CreateTable, RunStatements

POSTED = {
    "debt_recovery": (("site", "debt", "journal_seq"),),
    "correction": (("site", "journal_seq"),),
    "account_state": (("site", "tenant", "seq"),),
    "anchor": (("site", "day"),),
    "anchor_seal": (("site", "day", "subject"),),
}
APPROVAL = ("id", "site", "approval", "kind", "subject", "body", "asked_by", "why", "asked_ts", "expires_ts", "key")
DEBT = ("id", "site", "debt", "tenant", "kind", "origin", "principal_nano", "share_percent", "cap_nano", "priority")
REFUND = ("id", "site", "refund", "tenant", "payment", "amount_nano", "channel", "reason", "actor", "ts", "reserve_seq")
SQLITE = [
    *(trigger for table, keys in POSTED.items() for trigger in sqlite_posted(table, keys)),
    *sqlite_moving("approval", (("site", "approval"),), (*APPROVAL, "input_hash"), "OLD.state <> 'open'"),
    *sqlite_moving("debt", (("site", "debt"),), (*DEBT, "reason", "actor", "ts", "journal_seq"), "OLD.state <> 'open'"),
    *sqlite_moving("refund", (("site", "refund"),), REFUND, "OLD.state NOT IN ('requested', 'approved')"),
]
POSTGRES = [
    *(statement for table in POSTED for statement in postgres_posted(table)),
    *postgres_moving("approval", ("state", "decided_by", "decided_why", "decided_ts"), "OLD.state <> 'open'"),
    *postgres_moving("debt", ("state", "remaining_nano"), "OLD.state <> 'open'"),
    *postgres_moving(
        "refund",
        ("state", "approval", "reference", "detail", "settle_seq", "settled_by", "settled_ts"),
        "OLD.state NOT IN ('requested', 'approved')",
    ),
]


class Migration(BaseMigration):
    """Approvals, debts, refunds, corrections, account states and anchors."""

    dependencies = [("store", "0006_guards")]
    operations = [
        CreateTable(
            "Approval",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("approval", fields.CharField(max_length=32)),
                ("kind", fields.CharField(max_length=64)),
                ("subject", fields.CharField(max_length=200)),
                ("body", fields.TextField()),
                ("asked_by", fields.CharField(max_length=200)),
                ("why", fields.TextField()),
                ("asked_ts", fields.BigIntField()),
                ("expires_ts", fields.BigIntField()),
                ("key", fields.CharField(max_length=200)),
                ("input_hash", fields.CharField(max_length=64)),
                ("state", fields.CharField(max_length=16)),
                ("decided_by", fields.CharField(max_length=200)),
                ("decided_why", fields.TextField()),
                ("decided_ts", fields.BigIntField(null=True)),
            ],
            {
                "table": "approval",
                "unique_together": (("site", "approval"), ("site", "asked_by", "key")),
                "indexes": (("site", "state"),),
                "pk_attr": "id",
            },
            (
                "CHECK (state IN ('open', 'approved', 'rejected', 'expired', 'cancelled'))",
                "CHECK (state <> 'approved' OR decided_by <> asked_by)",
            ),
        ),
        CreateTable(
            "Debt",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("debt", fields.CharField(max_length=32)),
                ("tenant", fields.CharField(max_length=64)),
                ("kind", fields.CharField(max_length=16)),
                ("origin", fields.CharField(max_length=16)),
                ("principal_nano", fields.BigIntField()),
                ("share_percent", fields.BigIntField()),
                ("cap_nano", fields.BigIntField(null=True)),
                ("priority", fields.BigIntField()),
                ("reason", fields.TextField()),
                ("actor", fields.CharField(max_length=200)),
                ("ts", fields.BigIntField()),
                ("journal_seq", fields.BigIntField()),
                ("remaining_nano", fields.BigIntField()),
                ("state", fields.CharField(max_length=16)),
            ],
            {
                "table": "debt",
                "unique_together": (("site", "debt"), ("site", "journal_seq")),
                "indexes": (("site", "tenant", "state"),),
                "pk_attr": "id",
            },
            (
                "CHECK (principal_nano > 0)",
                "CHECK (remaining_nano >= 0 AND remaining_nano <= principal_nano)",
                "CHECK (share_percent BETWEEN 1 AND 100)",
                "CHECK (kind IN ('instalment', 'accumulated'))",
                "CHECK (state IN ('open', 'cleared', 'cancelled', 'written_off'))",
                "FOREIGN KEY (site, journal_seq) REFERENCES journal (site, seq)",
            ),
        ),
        CreateTable(
            "DebtRecovery",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("debt", fields.CharField(max_length=32)),
                ("tenant", fields.CharField(max_length=64)),
                ("how", fields.CharField(max_length=16)),
                ("payment", fields.CharField(max_length=64)),
                ("amount_nano", fields.BigIntField()),
                ("month", fields.BigIntField()),
                ("actor", fields.CharField(max_length=200)),
                ("ts", fields.BigIntField()),
                ("journal_seq", fields.BigIntField()),
            ],
            {
                "table": "debt_recovery",
                "unique_together": (("site", "debt", "journal_seq"),),
                "indexes": (("site", "tenant"),),
                "pk_attr": "id",
            },
            (
                "CHECK (amount_nano > 0)",
                "FOREIGN KEY (site, debt) REFERENCES debt (site, debt)",
                "FOREIGN KEY (site, journal_seq) REFERENCES journal (site, seq)",
            ),
        ),
        CreateTable(
            "Refund",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("refund", fields.CharField(max_length=32)),
                ("tenant", fields.CharField(max_length=64)),
                ("payment", fields.CharField(max_length=64)),
                ("amount_nano", fields.BigIntField()),
                ("channel", fields.CharField(max_length=64)),
                ("reason", fields.TextField()),
                ("actor", fields.CharField(max_length=200)),
                ("ts", fields.BigIntField()),
                ("reserve_seq", fields.BigIntField()),
                ("state", fields.CharField(max_length=16)),
                ("approval", fields.CharField(max_length=32)),
                ("reference", fields.CharField(max_length=200)),
                ("detail", fields.TextField()),
                ("settle_seq", fields.BigIntField(null=True)),
                ("settled_by", fields.CharField(max_length=200)),
                ("settled_ts", fields.BigIntField(null=True)),
            ],
            {
                "table": "refund",
                "unique_together": (("site", "refund"), ("site", "reserve_seq")),
                "indexes": (("site", "tenant"), ("site", "payment"), ("site", "state")),
                "pk_attr": "id",
            },
            (
                "CHECK (amount_nano > 0)",
                "CHECK (state IN ('requested', 'approved', 'paid', 'failed', 'cancelled'))",
                "FOREIGN KEY (site, reserve_seq) REFERENCES journal (site, seq)",
                "FOREIGN KEY (site, settle_seq) REFERENCES journal (site, seq)",
            ),
        ),
        CreateTable(
            "Correction",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("original_seq", fields.BigIntField()),
                ("journal_seq", fields.BigIntField()),
                ("tenant", fields.CharField(max_length=64)),
                ("amount_nano", fields.BigIntField()),
                ("reason", fields.TextField()),
                ("actor", fields.CharField(max_length=200)),
                ("approval", fields.CharField(max_length=32)),
                ("ts", fields.BigIntField()),
            ],
            {
                "table": "correction",
                "unique_together": (("site", "journal_seq"),),
                "indexes": (("site", "original_seq"),),
                "pk_attr": "id",
            },
            (
                "CHECK (amount_nano <> 0)",
                "CHECK (original_seq < journal_seq)",
                "FOREIGN KEY (site, original_seq) REFERENCES journal (site, seq)",
                "FOREIGN KEY (site, journal_seq) REFERENCES journal (site, seq)",
            ),
        ),
        CreateTable(
            "AccountState",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("tenant", fields.CharField(max_length=64)),
                ("seq", fields.BigIntField()),
                ("state", fields.CharField(max_length=16)),
                ("who", fields.CharField(max_length=200)),
                ("why", fields.TextField()),
                ("bill", fields.CharField(max_length=64)),
                ("ts", fields.BigIntField()),
            ],
            {"table": "account_state", "unique_together": (("site", "tenant", "seq"),), "pk_attr": "id"},
            (
                "CHECK (seq >= 1)",
                "CHECK (state IN ('open', 'closing', 'closed'))",
            ),
        ),
        CreateTable(
            "Anchor",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("day", fields.BigIntField()),
                ("journal_seq", fields.BigIntField()),
                ("journal_hash", fields.BinaryField()),
                ("payments", fields.BigIntField()),
                ("turnover_nano", fields.TextField()),
                ("ts", fields.BigIntField()),
            ],
            {"table": "anchor", "unique_together": (("site", "day"),), "pk_attr": "id"},
            (
                "CHECK (journal_seq >= 0)",
                "CHECK (length(journal_hash) = 32)",
            ),
        ),
        CreateTable(
            "AnchorSeal",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("day", fields.BigIntField()),
                ("subject", fields.CharField(max_length=64)),
                ("columns", fields.TextField()),
                ("to_id", fields.BigIntField()),
                ("rows", fields.BigIntField()),
                ("digest", fields.BinaryField()),
            ],
            {"table": "anchor_seal", "unique_together": (("site", "day", "subject"),), "pk_attr": "id"},
            (
                "CHECK (length(digest) = 32)",
                "FOREIGN KEY (site, day) REFERENCES anchor (site, day)",
            ),
        ),
        RunStatements(sqlite=SQLITE, postgres=POSTGRES),
    ]
