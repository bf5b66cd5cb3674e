"""What is installed and agreed: sites, tenants, devices and who pays for which meter from when to when.

`settings` columns hold the entry of the site file as it was written (JSON text), so that an export gives back what was
imported; the other columns are what the platform asks for.
"""

from tortoise import fields
from tortoise.models import Model


class Site(Model):
    """One park: the shard of everything. The row is also the lock that orders all money of the site."""

    id = fields.CharField(max_length=64, primary_key=True)
    settings = fields.TextField()
    generation = fields.BigIntField(default=1)
    ledger_position = fields.CharField(max_length=64, default="0-0")
    journal_seq = fields.BigIntField(default=0)
    journal_hash = fields.BinaryField()
    created_ts = fields.BigIntField()
    imported_ts = fields.BigIntField()

    class Meta:
        table = "site"


class Tenant(Model):
    """Who pays; `supply_state` is the last state of the disconnect machine that the ledger heard of."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    tenant = fields.CharField(max_length=64)
    name = fields.TextField()
    mode = fields.CharField(max_length=16)
    emergency_credit_nano = fields.BigIntField()
    opening_credit_nano = fields.BigIntField(null=True)
    params = fields.TextField()
    protected_until = fields.BigIntField(null=True)
    settings = fields.TextField()
    supply_state = fields.CharField(max_length=32, default="NORMAL")
    supply_state_since = fields.BigIntField(default=0)

    class Meta:
        table = "tenant"
        unique_together = (("site", "tenant"),)


class Device(Model):
    """A meter, a breaker or a gateway."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    device = fields.CharField(max_length=64)
    kind = fields.CharField(max_length=32)
    gateway = fields.CharField(max_length=64, null=True)
    settings = fields.TextField()
    created_ts = fields.BigIntField()

    class Meta:
        table = "device"
        unique_together = (("site", "device"),)


class Supply(Model):
    """Occupancy: a tenant pays for a meter in `[from_ts, to_ts)`; an open end is NULL. No two overlap for one meter."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    tenant = fields.CharField(max_length=64)
    meter = fields.CharField(max_length=64)
    breaker = fields.CharField(max_length=64, null=True)
    tariff = fields.CharField(max_length=64)
    from_ts = fields.BigIntField(null=True)
    to_ts = fields.BigIntField(null=True)
    settings = fields.TextField()

    class Meta:
        table = "supply"
        indexes = (("site", "meter"), ("site", "tenant"))
