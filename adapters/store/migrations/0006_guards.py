# ruff: noqa: RUF012, S608 -- Tortoise declares them so; every name below is a constant
"""What the database itself refuses: edits of posted rows, breaks of a chain, unbalanced journals, double occupancy.

SQLite's triggers do not rely on `PRAGMA foreign_keys`, which every connection must switch on for itself, nor let
`INSERT OR REPLACE` through, which deletes without firing delete triggers. PostgreSQL's checks of journals and legs run
once a statement over all its rows, by scalar subqueries, which look each row up by its key even where a plan was made
when the table was empty; the legs' check takes the site's row lock, so that it holds between transactions
too.
"""

from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import RunStatements

POSTED = {
    "energy": (("site", "meter", "epoch", "from_qty"), ("site", "meter", "epoch", "to_qty")),
    "journal": (("site", "seq"), ("site", "reference")),
    "leg": (("site", "seq", "place"),),
    "payment": (("site", "payment"), ("site", "tenant", "key"), ("site", "journal_seq")),
    "tariff_version": (("site", "tariff", "version"),),
    "ruleset_version": (("site", "ruleset", "version"),),
    "audit": (),
}
RATING_KEYS = (("site", "meter", "epoch", "from_qty", "revision"),)
RATING_FIXED = (
    *("id", "site", "meter", "epoch", "from_qty", "to_qty", "revision", "account", "utility", "tariff", "version"),
    *("month", "period", "tier", "price_micro", "amount_nano", "journal_seq"),
)


def sqlite_trigger(name: str, when: str, condition: str, message: str) -> str:
    """A trigger that aborts the statement with a message where the condition holds."""
    return f"CREATE TRIGGER IF NOT EXISTS {name} {when} BEGIN SELECT RAISE(ABORT, '{message}') WHERE {condition}; END"


def sqlite_keeps(table: str, keys: tuple[tuple[str, ...], ...], *, updates: bool) -> list[str]:
    """No delete, no replacement, and (with `updates`) no update of a table's rows."""
    same = [" AND ".join(f"{column} = NEW.{column}" for column in key) for key in (("id",), *keys)]
    exists = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {condition})" for condition in same)
    message = f"{table} rows are posted for good"
    triggers = [
        sqlite_trigger(f"{table}_no_delete", f"BEFORE DELETE ON {table}", "1", message),
        sqlite_trigger(f"{table}_no_replace", f"BEFORE INSERT ON {table}", exists, f"{message}: this one exists"),
    ]
    if updates:
        triggers.append(sqlite_trigger(f"{table}_no_update", f"BEFORE UPDATE ON {table}", "1", message))
    return triggers


SQLITE = [
    *(trigger for table, keys in POSTED.items() for trigger in sqlite_keeps(table, keys, updates=True)),
    *sqlite_keeps("rating", RATING_KEYS, updates=False),
    sqlite_trigger(
        "rating_only_superseded",
        "BEFORE UPDATE ON rating",
        f"NOT (OLD.active AND NOT NEW.active AND {' AND '.join(f'OLD.{c} IS NEW.{c}' for c in RATING_FIXED)})",
        "rating rows are posted for good: they can only be superseded",
    ),
    sqlite_trigger(
        "energy_follows_chain",
        "BEFORE INSERT ON energy WHEN NEW.from_qty IS NOT NULL",
        "NOT EXISTS (SELECT 1 FROM energy WHERE site = NEW.site AND meter = NEW.meter AND epoch = NEW.epoch"
        " AND to_qty = NEW.from_qty)",
        "energy must start where the chain ends",
    ),
    sqlite_trigger(
        "rating_has_energy",
        "BEFORE INSERT ON rating",
        "NOT EXISTS (SELECT 1 FROM energy WHERE site = NEW.site AND meter = NEW.meter AND epoch = NEW.epoch"
        " AND from_qty = NEW.from_qty AND to_qty = NEW.to_qty)",
        "a rating row must price one interval of the chain",
    ),
    sqlite_trigger(
        "leg_before_journal",
        "BEFORE INSERT ON leg",
        "EXISTS (SELECT 1 FROM journal WHERE site = NEW.site AND seq = NEW.seq)",
        "legs cannot be added to a posted journal",
    ),
    sqlite_trigger(
        "journal_balances",
        "BEFORE INSERT ON journal",
        "(SELECT count(*) < 2 OR sum(amount_nano) <> 0 FROM leg WHERE site = NEW.site AND seq = NEW.seq)",
        "the legs of a journal must be two or more and sum to zero",
    ),
    sqlite_trigger(
        "journal_follows_chain",
        "BEFORE INSERT ON journal WHEN NEW.seq > 1",
        "NOT EXISTS (SELECT 1 FROM journal WHERE site = NEW.site AND seq = NEW.seq - 1 AND hash = NEW.prev_hash)",
        "a journal must follow the last one of its site",
    ),
    *(
        sqlite_trigger(
            f"supply_no_overlap_{verb.lower()}",
            f"BEFORE {verb} ON supply",
            "EXISTS (SELECT 1 FROM supply WHERE site = NEW.site AND meter = NEW.meter AND id IS NOT NEW.id"
            " AND (from_ts IS NULL OR NEW.to_ts IS NULL OR from_ts < NEW.to_ts)"
            " AND (to_ts IS NULL OR NEW.from_ts IS NULL OR NEW.from_ts < to_ts))",
            "two tenants cannot pay for one meter at once",
        )
        for verb in ("INSERT", "UPDATE")
    ),
]

REFUSE = "RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = "


def postgres_function(name: str, body: str, declare: str = "") -> str:
    """A trigger function."""
    return f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {declare} BEGIN {body} END $$"


def postgres_trigger(name: str, table: str, when: str, function: str) -> list[str]:
    """A trigger, created anew."""
    return [
        f"DROP TRIGGER IF EXISTS {name} ON {table}",
        f"CREATE TRIGGER {name} {when.format(table=table)} EXECUTE FUNCTION {function}()",
    ]


POSTGRES = [
    postgres_function("twinmeter_keep", f"{REFUSE} TG_TABLE_NAME || ' rows are posted for good';"),
    postgres_function(
        "twinmeter_rating_superseded",
        "IF OLD.active AND NOT NEW.active AND to_jsonb(OLD) - 'active' = to_jsonb(NEW) - 'active' THEN RETURN NEW;"
        " END IF;"
        f" {REFUSE} 'rating rows are posted for good: they can only be superseded';",
    ),
    postgres_function(
        "twinmeter_rating_has_energy",
        "IF EXISTS (SELECT 1 FROM added r WHERE (SELECT e.to_qty FROM energy e WHERE e.site = r.site"
        " AND e.meter = r.meter AND e.epoch = r.epoch AND e.from_qty = r.from_qty) IS DISTINCT FROM r.to_qty) THEN"
        f" {REFUSE} 'a rating row must price one interval of the chain'; END IF; RETURN NULL;",
    ),
    postgres_function(
        "twinmeter_leg_before_journal",
        "PERFORM 1 FROM site WHERE id IN (SELECT site FROM added) ORDER BY id FOR UPDATE;"
        " IF EXISTS (SELECT 1 FROM (SELECT site, min(seq) AS first FROM added GROUP BY site) a"
        " WHERE a.first <= (SELECT max(j.seq) FROM journal j WHERE j.site = a.site)) THEN"
        f" {REFUSE} 'legs cannot be added to a posted journal'; END IF; RETURN NULL;",
    ),
    postgres_function(
        "twinmeter_journal_balances",
        "IF EXISTS (SELECT 1 FROM added j WHERE (SELECT count(*) >= 2 AND sum(l.amount_nano) = 0 FROM leg l"
        " WHERE l.site = j.site AND l.seq = j.seq) IS NOT TRUE) THEN"
        f" {REFUSE} 'the legs of a journal must be two or more and sum to zero'; END IF;"
        " IF EXISTS (SELECT 1 FROM added j WHERE j.seq > 1 AND (SELECT p.hash FROM journal p WHERE p.site = j.site"
        " AND p.seq = j.seq - 1) IS DISTINCT FROM j.prev_hash) THEN"
        f" {REFUSE} 'a journal must follow the last one of its site'; END IF; RETURN NULL;",
    ),
    postgres_function(
        "twinmeter_supply_no_overlap",
        "PERFORM pg_advisory_xact_lock(hashtextextended(NEW.site || '/' || NEW.meter, 0));"
        " IF EXISTS (SELECT 1 FROM supply WHERE site = NEW.site AND meter = NEW.meter AND id <> NEW.id"
        " AND (from_ts IS NULL OR NEW.to_ts IS NULL OR from_ts < NEW.to_ts)"
        " AND (to_ts IS NULL OR NEW.from_ts IS NULL OR NEW.from_ts < to_ts)) THEN"
        f" {REFUSE} 'two tenants cannot pay for one meter at once'; END IF; RETURN NEW;",
    ),
    *(
        statement
        for table in POSTED
        for statement in (
            *postgres_trigger(
                f"{table}_keep", table, "BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW", "twinmeter_keep"
            ),
            *postgres_trigger(f"{table}_keep_all", table, "BEFORE TRUNCATE ON {table}", "twinmeter_keep"),
        )
    ),
    *postgres_trigger("rating_keep", "rating", "BEFORE DELETE ON {table} FOR EACH ROW", "twinmeter_keep"),
    *postgres_trigger("rating_keep_all", "rating", "BEFORE TRUNCATE ON {table}", "twinmeter_keep"),
    *postgres_trigger(
        "rating_superseded", "rating", "BEFORE UPDATE ON {table} FOR EACH ROW", "twinmeter_rating_superseded"
    ),
    *postgres_trigger(
        "rating_has_energy",
        "rating",
        "AFTER INSERT ON {table} REFERENCING NEW TABLE AS added FOR EACH STATEMENT",
        "twinmeter_rating_has_energy",
    ),
    *postgres_trigger(
        "leg_before_journal",
        "leg",
        "AFTER INSERT ON {table} REFERENCING NEW TABLE AS added FOR EACH STATEMENT",
        "twinmeter_leg_before_journal",
    ),
    *postgres_trigger(
        "journal_balances",
        "journal",
        "AFTER INSERT ON {table} REFERENCING NEW TABLE AS added FOR EACH STATEMENT",
        "twinmeter_journal_balances",
    ),
    *postgres_trigger(
        "supply_no_overlap", "supply", "BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW", "twinmeter_supply_no_overlap"
    ),
]

INDEXES = [
    "CREATE UNIQUE INDEX IF NOT EXISTS uq_energy_opening ON energy (site, meter, epoch) WHERE from_qty IS NULL",
    "CREATE UNIQUE INDEX IF NOT EXISTS uq_rating_active ON rating (site, meter, epoch, from_qty) WHERE active",
    "CREATE UNIQUE INDEX IF NOT EXISTS uq_payment_reference ON payment (site, channel, reference)"
    " WHERE reference <> ''",
    "CREATE INDEX IF NOT EXISTS ix_act_undelivered ON act (id) WHERE NOT delivered",
    "CREATE INDEX IF NOT EXISTS ix_incident_open ON incident (site, device) WHERE resolved_ts IS NULL",
    "CREATE INDEX IF NOT EXISTS ix_lock_active ON standing_lock (site, breaker) WHERE active",
]


class Migration(BaseMigration):
    """Triggers and partial indexes."""

    dependencies = [("store", "0005_decisions")]
    operations = [RunStatements(both=INDEXES, sqlite=SQLITE, postgres=POSTGRES)]
