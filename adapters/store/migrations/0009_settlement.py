# ruff: noqa: RUF012 -- Tortoise declares them so
"""Fees, settlement runs, bills with their lines and numbers, settlement prices and the pushing of bills.

Fee lines and settlement prices are posted for good. A draft of a bill may be made anew; once it is issued, the bill,
its wallets and its lines are fixed, and the only thing that can still happen to it is to be replaced by a correction.
A bill is issued with the number after the last one of its series, or not at all.
"""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.guard_statements import postgres_posted, sqlite_posted, sqlite_trigger
from adapters.store.engine.schema_operations import CreateTable, RunStatements

POSTED = {
    "fee_line": (("site", "kind", "tenant", "meter", "name", "month", "day", "revision"),),
    "settlement_price": (("site", "month", "scope", "revision"),),
}
BILL_FIXED = (
    *("id", "site", "bill", "kind", "holder", "month", "revision", "series", "number", "from_ts", "to_ts", "corrects"),
    *("drafted_ts", "issued_ts", "who", "opening_nano", "charges_nano", "credits_nano", "closing_nano", "journal_seq"),
    *("document", "digest"),
)
PARTS = ("bill_line", "bill_wallet")
INDEXES = [
    # Bills say how much of a register was dated by a share of time; few intervals are.
    "CREATE INDEX IF NOT EXISTS ix_energy_estimated ON energy (site, meter, epoch, from_qty) WHERE estimated",
    # Of millions of journals only these move a wallet without being a charge.
    "CREATE INDEX IF NOT EXISTS ix_journal_credit ON journal (site, seq)"
    " WHERE kind NOT IN ('charge', 'adjustment', 'fee', 'share')",
    "CREATE INDEX IF NOT EXISTS ix_relay_report_breaker ON relay_report (site, breaker, ts)",
]
_ISSUED = "an issued bill is fixed: correct it by a new one"
_GAP = "a statement number must follow the last one of its series"
_FOLLOWS = (
    "NEW.number IS NOT NULL AND NEW.number <> (SELECT COALESCE(max(b.number), 0) + 1 FROM bill b"
    " WHERE b.site = NEW.site AND b.series = NEW.series AND b.number IS NOT NULL AND b.bill <> NEW.bill)"
)
_SAME = " AND ".join(f"OLD.{column} IS NEW.{column}" for column in BILL_FIXED)
_REFUSE = "RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = "


def _draft(row: str) -> str:
    same = f"b.site = {row}.site AND b.bill = {row}.bill"
    return f"EXISTS (SELECT 1 FROM bill b WHERE {same} AND b.state = 'draft')"  # noqa: S608 -- constants


SQLITE = [
    *(trigger for table, keys in POSTED.items() for trigger in sqlite_posted(table, keys)),
    sqlite_trigger("bill_no_delete", "BEFORE DELETE ON bill", "OLD.state <> 'draft'", _ISSUED),
    sqlite_trigger(
        "bill_no_replace",
        "BEFORE INSERT ON bill",
        "EXISTS (SELECT 1 FROM bill WHERE id = NEW.id OR (site = NEW.site AND bill = NEW.bill)"
        " OR (site = NEW.site AND series = NEW.series AND number = NEW.number))",
        "this bill exists",
    ),
    sqlite_trigger(
        "bill_issued",
        "BEFORE UPDATE ON bill WHEN OLD.state <> 'draft'",
        f"NOT (OLD.state = 'issued' AND NEW.state = 'corrected' AND NEW.replaced_by IS NOT NULL AND {_SAME})",
        _ISSUED,
    ),
    sqlite_trigger("bill_number_new", "BEFORE INSERT ON bill", _FOLLOWS, _GAP),
    sqlite_trigger("bill_number_given", "BEFORE UPDATE ON bill WHEN OLD.number IS NULL", _FOLLOWS, _GAP),
    *(
        sqlite_trigger(f"{table}_{verb.lower()}", f"BEFORE {verb} ON {table}", f"NOT {_draft(row)}", _ISSUED)
        for table in PARTS
        for verb, row in (("INSERT", "NEW"), ("UPDATE", "OLD"), ("DELETE", "OLD"))
    ),
]
POSTGRES = [
    *(statement for table in POSTED for statement in postgres_posted(table)),
    "CREATE OR REPLACE FUNCTION twinmeter_bill_moves() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    f" IF TG_OP = 'DELETE' THEN IF OLD.state <> 'draft' THEN {_REFUSE} '{_ISSUED}'; END IF; RETURN OLD; END IF;"
    " IF TG_OP = 'UPDATE' AND OLD.state <> 'draft' THEN"
    " IF NOT (OLD.state = 'issued' AND NEW.state = 'corrected' AND NEW.replaced_by IS NOT NULL"
    " AND to_jsonb(OLD) - 'state' - 'replaced_by' = to_jsonb(NEW) - 'state' - 'replaced_by') THEN"
    f" {_REFUSE} '{_ISSUED}'; END IF; RETURN NEW; END IF;"
    f" IF {_FOLLOWS} THEN {_REFUSE} '{_GAP}'; END IF; RETURN NEW; END $$",
    "DROP TRIGGER IF EXISTS bill_moves ON bill",
    "CREATE TRIGGER bill_moves BEFORE INSERT OR UPDATE OR DELETE ON bill FOR EACH ROW"
    " EXECUTE FUNCTION twinmeter_bill_moves()",
    "CREATE OR REPLACE FUNCTION twinmeter_bill_part() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    f" IF TG_OP <> 'INSERT' AND NOT {_draft('OLD')} THEN {_REFUSE} '{_ISSUED}'; END IF;"
    f" IF TG_OP <> 'DELETE' AND NOT {_draft('NEW')} THEN {_REFUSE} '{_ISSUED}'; END IF;"
    " IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$",
    *(
        statement
        for table in PARTS
        for statement in (
            f"DROP TRIGGER IF EXISTS {table}_fixed ON {table}",
            f"CREATE TRIGGER {table}_fixed BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW"
            " EXECUTE FUNCTION twinmeter_bill_part()",
        )
    ),
    *(
        statement
        for table in ("bill", *PARTS)
        for statement in (
            f"DROP TRIGGER IF EXISTS {table}_keep_all ON {table}",
            f"CREATE TRIGGER {table}_keep_all BEFORE TRUNCATE ON {table} EXECUTE FUNCTION twinmeter_keep()",
        )
    ),
]


class Migration(BaseMigration):
    """Tables of fees, settlement and bills, and what the database refuses to do to them."""

    dependencies = [("store", "0006_guards")]
    operations = [
        CreateTable(
            "FeeLine",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("kind", fields.CharField(max_length=32)),
                ("tenant", fields.CharField(max_length=64)),
                ("account", fields.CharField(max_length=128)),
                ("meter", fields.CharField(max_length=64)),
                ("utility", fields.CharField(max_length=16)),
                ("tariff", fields.CharField(max_length=64)),
                ("version", fields.BigIntField()),
                ("name", fields.CharField(max_length=128)),
                ("month", fields.BigIntField()),
                ("day", fields.BigIntField()),
                ("revision", fields.BigIntField()),
                ("quantity", fields.BigIntField(null=True)),
                ("unit", fields.CharField(max_length=8)),
                ("price_micro", fields.BigIntField(null=True)),
                ("amount_nano", fields.BigIntField()),
                ("estimated", fields.BooleanField()),
                ("facts", fields.TextField()),
                ("ts", fields.BigIntField()),
                ("journal_seq", fields.BigIntField(null=True)),
            ],
            {
                "table": "fee_line",
                "unique_together": (("site", "kind", "tenant", "meter", "name", "month", "day", "revision"),),
                "indexes": (("site", "tenant", "month"), ("site", "month", "kind"), ("site", "journal_seq")),
                "pk_attr": "id",
            },
            (
                "CHECK (revision >= 1)",
                "CHECK (quantity IS NULL OR price_micro IS NULL OR amount_nano = quantity * price_micro)",
                "CHECK (journal_seq IS NOT NULL OR account = 'landlord:vacancy' OR amount_nano = 0)",
                "FOREIGN KEY (site, journal_seq) REFERENCES journal (site, seq)",
            ),
        ),
        CreateTable(
            "SettlementRun",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("month", fields.BigIntField()),
                ("state", fields.CharField(max_length=16)),
                ("attempt", fields.BigIntField()),
                ("who", fields.CharField(max_length=200)),
                ("policy", fields.CharField(max_length=16)),
                ("started_ts", fields.BigIntField()),
                ("changed_ts", fields.BigIntField()),
                ("finished_ts", fields.BigIntField(null=True)),
                ("end_ts", fields.BigIntField()),
                ("prior_month", fields.BigIntField()),
                ("prior_end_ts", fields.BigIntField()),
                ("low_rating", fields.BigIntField()),
                ("prior_rating", fields.BigIntField()),
                ("prior_adjustment", fields.BigIntField()),
                ("prior_seq", fields.BigIntField()),
                ("cut_rating", fields.BigIntField(null=True)),
                ("cut_adjustment", fields.BigIntField(null=True)),
                ("cut_seq", fields.BigIntField(null=True)),
                ("next_low_rating", fields.BigIntField(null=True)),
                ("anchor", fields.CharField(max_length=64)),
                ("report", fields.TextField()),
            ],
            {
                "table": "settlement_run",
                "unique_together": (("site", "month"),),
                "pk_attr": "id",
            },
            ("CHECK (state IN ('running', 'waiting', 'drafted', 'done'))",),
        ),
        CreateTable(
            "SettlementStep",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("month", fields.BigIntField()),
                ("attempt", fields.BigIntField()),
                ("step", fields.CharField(max_length=32)),
                ("subject", fields.CharField(max_length=128)),
                ("ts", fields.BigIntField()),
            ],
            {
                "table": "settlement_step",
                "unique_together": (("site", "month", "attempt", "step", "subject"),),
                "pk_attr": "id",
            },
        ),
        CreateTable(
            "ChargeSum",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("scope", fields.CharField(max_length=128)),
                ("adjusted", fields.BooleanField()),
                ("account", fields.CharField(max_length=128)),
                ("meter", fields.CharField(max_length=64)),
                ("epoch", fields.BigIntField()),
                ("utility", fields.CharField(max_length=16)),
                ("tariff", fields.CharField(max_length=64)),
                ("version", fields.BigIntField()),
                ("month", fields.BigIntField()),
                ("period", fields.CharField(max_length=64, null=True)),
                ("tier", fields.BigIntField(null=True)),
                ("price_micro", fields.BigIntField()),
                ("quantity", fields.BigIntField()),
                ("amount_nano", fields.BigIntField()),
                ("intervals", fields.BigIntField()),
                ("from_qty", fields.BigIntField(null=True)),
                ("to_qty", fields.BigIntField(null=True)),
            ],
            {
                "table": "charge_sum",
                "indexes": (("site", "scope", "account"), ("site", "account", "month")),
                "pk_attr": "id",
            },
        ),
        CreateTable(
            "BillRow",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("bill", fields.CharField(max_length=128)),
                ("kind", fields.CharField(max_length=16)),
                ("holder", fields.CharField(max_length=64)),
                ("month", fields.BigIntField()),
                ("revision", fields.BigIntField()),
                ("state", fields.CharField(max_length=16)),
                ("series", fields.CharField(max_length=64)),
                ("number", fields.BigIntField(null=True)),
                ("from_ts", fields.BigIntField()),
                ("to_ts", fields.BigIntField()),
                ("corrects", fields.CharField(max_length=128, null=True)),
                ("replaced_by", fields.CharField(max_length=128, null=True)),
                ("drafted_ts", fields.BigIntField()),
                ("issued_ts", fields.BigIntField(null=True)),
                ("who", fields.CharField(max_length=200)),
                ("opening_nano", fields.BigIntField()),
                ("charges_nano", fields.BigIntField()),
                ("credits_nano", fields.BigIntField()),
                ("closing_nano", fields.BigIntField()),
                ("journal_seq", fields.BigIntField()),
                ("document", fields.TextField()),
                ("digest", fields.CharField(max_length=64)),
            ],
            {
                "table": "bill",
                "unique_together": (("site", "bill"), ("site", "series", "number")),
                "indexes": (("site", "month", "holder"), ("site", "holder", "id")),
                "pk_attr": "id",
            },
            (
                "CHECK (state IN ('draft', 'issued', 'corrected'))",
                "CHECK ((state = 'draft') = (number IS NULL))",
                "CHECK (closing_nano = opening_nano + credits_nano - charges_nano)",
                "CHECK (length(digest) = 64)",
            ),
        ),
        CreateTable(
            "BillWallet",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("bill", fields.CharField(max_length=128)),
                ("tenant", fields.CharField(max_length=64)),
                ("account", fields.CharField(max_length=128)),
                ("through_month", fields.BigIntField()),
                ("end_ts", fields.BigIntField()),
                ("cut_rating", fields.BigIntField()),
                ("cut_adjustment", fields.BigIntField()),
                ("cut_seq", fields.BigIntField()),
                ("prior_month", fields.BigIntField()),
                ("prior_end_ts", fields.BigIntField()),
                ("prior_rating", fields.BigIntField()),
                ("prior_adjustment", fields.BigIntField()),
                ("prior_seq", fields.BigIntField()),
                ("opening_nano", fields.BigIntField()),
                ("charges_nano", fields.BigIntField()),
                ("credits_nano", fields.BigIntField()),
                ("closing_nano", fields.BigIntField()),
            ],
            {
                "table": "bill_wallet",
                "unique_together": (("site", "bill", "account"),),
                "indexes": (("site", "account", "id"),),
                "pk_attr": "id",
            },
            (
                "CHECK (closing_nano = opening_nano + credits_nano - charges_nano)",
                "FOREIGN KEY (site, bill) REFERENCES bill (site, bill)",
            ),
        ),
        CreateTable(
            "BillLine",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("bill", fields.CharField(max_length=128)),
                ("place", fields.BigIntField()),
                ("account", fields.CharField(max_length=128)),
                ("kind", fields.CharField(max_length=32)),
                ("name_zh", fields.CharField(max_length=200)),
                ("name_en", fields.CharField(max_length=200)),
                ("meter", fields.CharField(max_length=64)),
                ("utility", fields.CharField(max_length=16)),
                ("tariff", fields.CharField(max_length=64)),
                ("version", fields.BigIntField(null=True)),
                ("month", fields.BigIntField()),
                ("period", fields.CharField(max_length=64)),
                ("tier", fields.BigIntField(null=True)),
                ("quantity", fields.BigIntField(null=True)),
                ("unit", fields.CharField(max_length=8)),
                ("price_micro", fields.BigIntField(null=True)),
                ("amount_nano", fields.BigIntField()),
            ],
            {
                "table": "bill_line",
                "unique_together": (("site", "bill", "place"),),
                "pk_attr": "id",
            },
            (
                "CHECK (quantity IS NULL OR price_micro IS NULL OR amount_nano = quantity * price_micro)",
                "FOREIGN KEY (site, bill) REFERENCES bill (site, bill)",
            ),
        ),
        CreateTable(
            "BillNumber",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("series", fields.CharField(max_length=64)),
                ("given", fields.BigIntField()),
            ],
            {
                "table": "bill_number",
                "unique_together": (("site", "series"),),
                "pk_attr": "id",
            },
            ("CHECK (given >= 1)",),
        ),
        CreateTable(
            "SettlementPrice",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("month", fields.BigIntField()),
                ("scope", fields.CharField(max_length=80)),
                ("revision", fields.BigIntField()),
                ("price_micro", fields.BigIntField(null=True)),
                ("who", fields.CharField(max_length=200)),
                ("why", fields.TextField()),
                ("ts", fields.BigIntField()),
            ],
            {
                "table": "settlement_price",
                "unique_together": (("site", "month", "scope", "revision"),),
                "pk_attr": "id",
            },
            ("CHECK (price_micro IS NULL OR price_micro >= 0)",),
        ),
        CreateTable(
            "BillPush",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("bill", fields.CharField(max_length=128)),
                ("holder", fields.CharField(max_length=64)),
                ("state", fields.CharField(max_length=16)),
                ("attempts", fields.BigIntField()),
                ("proof", fields.CharField(max_length=200)),
                ("trouble", fields.TextField()),
                ("wanted_by", fields.CharField(max_length=200)),
                ("wanted_ts", fields.BigIntField()),
                ("changed_ts", fields.BigIntField()),
            ],
            {
                "table": "bill_push",
                "unique_together": (("site", "bill"),),
                "indexes": (("site", "state"),),
                "pk_attr": "id",
            },
            (
                "CHECK (state IN ('wanted', 'delivered', 'failed'))",
                "FOREIGN KEY (site, bill) REFERENCES bill (site, bill)",
            ),
        ),
        RunStatements(both=INDEXES, sqlite=SQLITE, postgres=POSTGRES),
    ]
