# ruff: noqa: RUF012 -- Tortoise declares them so
"""Incidents that a person closes, with who and why; an index for commands that are under way."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import AddColumn, RunStatements


class Migration(BaseMigration):
    """Columns of `incident`, and what metrics ask for at each scrape."""

    dependencies = [("store", "0017_notices"), ("store", "0019_switching")]
    operations = [
        AddColumn("Incident", "incident", "closed_by", fields.CharField(max_length=200, default="")),
        AddColumn("Incident", "incident", "closed_why", fields.TextField(default="")),
        RunStatements(
            both=[
                "CREATE INDEX IF NOT EXISTS ix_command_under_way ON command (site, state, issued)"
                " WHERE state IN ('created', 'queued', 'sent', 'received', 'executed')"
            ]
        ),
    ]
