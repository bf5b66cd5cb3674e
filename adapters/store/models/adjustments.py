"""Adjustments of posted energy, and the queue of meters that must be rated again. Quantities are Wh or litres.

An adjustment overlays a part of one posted interval with another assignment (who pays, at which price); the newest
overlay holds. What was posted is never edited.
"""

from tortoise import fields
from tortoise.models import Model


class Adjustment(Model):
    """One part of a posted interval, what it was charged as, and what it is charged as from now on.

    `number` counts within the site; `batch` is the number of the first adjustment posted together with it, and names
    their journals. `original_from` names the posted interval, `supersedes` the adjustment that held before, if any.
    """

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    number = fields.BigIntField()
    batch = fields.BigIntField()
    meter = fields.CharField(max_length=64)
    epoch = fields.BigIntField()
    from_qty = fields.BigIntField()
    to_qty = fields.BigIntField()
    from_ts = fields.BigIntField()
    to_ts = fields.BigIntField()
    original_from = fields.BigIntField()
    supersedes = fields.BigIntField(null=True)
    utility = fields.CharField(max_length=16)
    old_tenant = fields.CharField(max_length=64)
    old_account = fields.CharField(max_length=128)
    old_tariff = fields.CharField(max_length=64)
    old_version = fields.BigIntField()
    old_month = fields.BigIntField()
    old_period = fields.CharField(max_length=64, null=True)
    old_tier = fields.BigIntField(null=True)
    old_price_micro = fields.BigIntField()
    old_amount_nano = fields.BigIntField()
    tenant = fields.CharField(max_length=64)
    account = fields.CharField(max_length=128)
    tariff = fields.CharField(max_length=64)
    version = fields.BigIntField()
    month = fields.BigIntField()
    period = fields.CharField(max_length=64, null=True)
    tier = fields.BigIntField(null=True)
    price_micro = fields.BigIntField()
    amount_nano = fields.BigIntField()
    estimated = fields.BooleanField()
    reason = fields.CharField(max_length=200)
    ts = fields.BigIntField()

    class Meta:
        table = "adjustment"
        unique_together = (("site", "number"),)
        indexes = (("site", "meter", "epoch", "from_qty"), ("site", "batch"))


class RerateMark(Model):
    """A meter whose samples, payers or prices changed since `from_ts`.

    `due`: to be rated again now. `sticky`: stays when that is done, because the twin goes on with counters of use that
    are not those of the ledger. `version` counts the marks, so that one that came meanwhile is not lost; `head_ts` is
    where the chain ended when it was last rated; `trouble` says why the last attempt failed.
    """

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    meter = fields.CharField(max_length=64)
    from_ts = fields.BigIntField()
    reason = fields.CharField(max_length=200)
    sticky = fields.BooleanField()
    due = fields.BooleanField()
    ts = fields.BigIntField()
    version = fields.BigIntField()
    head_ts = fields.BigIntField(null=True)
    trouble = fields.TextField()

    class Meta:
        table = "rerate_mark"
        unique_together = (("site", "meter"),)


class SupplyTariff(Model):
    """The tariff of a supply from an instant on (NULL: from its beginning); none for one that never changed tariff."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    tenant = fields.CharField(max_length=64)
    meter = fields.CharField(max_length=64)
    supply_from = fields.BigIntField(null=True)
    from_ts = fields.BigIntField(null=True)
    tariff = fields.CharField(max_length=64)
    who = fields.CharField(max_length=200)
    ts = fields.BigIntField()

    class Meta:
        table = "supply_tariff"
        indexes = (("site", "meter"),)
