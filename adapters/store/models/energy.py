"""The energy chain, its prices, and the readings that were not believed. Quantities are Wh or litres.

The chain (`energy`) is unique and append-only: each row starts where another one ends, down to the one opening row of
its epoch, which starts nowhere. Prices stand apart (`rating`): versioned by `revision`, one active per interval, so
that a corrected price never touches energy. `register_epoch` carries the end of its chain as a projection of it.
"""

from tortoise import fields
from tortoise.models import Model


class RegisterEpoch(Model):
    """One life of a register: from an opening value until a reset or a replacement. `head_qty` is the chain's end."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    meter = fields.CharField(max_length=64)
    epoch = fields.BigIntField()
    opening = fields.BigIntField()
    opened_ts = fields.BigIntField(null=True)
    reason = fields.CharField(max_length=200)
    head_qty = fields.BigIntField()
    head_ts = fields.BigIntField(null=True)
    month = fields.BigIntField(default=0)
    month_use = fields.BigIntField(default=0)
    ratio = fields.BigIntField(default=1)
    """Primary quantity of one unit that the device shows (CT x PT)."""
    carried_month = fields.BigIntField(default=0)
    carried_use = fields.BigIntField(default=0)
    """What another device at the same metering point had counted in a month before this one took over."""
    year_use = fields.BigIntField(default=0)
    """Use within the local year of `month`, as `month_use` is within the month; tiers by the year count on it."""
    carried_year_use = fields.BigIntField(default=0)
    """As `carried_use`, within the year of `carried_month`."""
    event = fields.BigIntField(default=0)
    """Number of the person's act that the epoch follows, as its `meter_event` tells it; 0 for none."""

    class Meta:
        table = "register_epoch"
        unique_together = (("site", "meter", "epoch"),)


class Energy(Model):
    """One interval `[from_qty, to_qty)` of a register epoch; the opening row has no start and charges nobody."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    meter = fields.CharField(max_length=64)
    epoch = fields.BigIntField()
    from_qty = fields.BigIntField(null=True)
    to_qty = fields.BigIntField()
    from_ts = fields.BigIntField(null=True)
    to_ts = fields.BigIntField(null=True)
    tenant = fields.CharField(max_length=64)
    estimated = fields.BooleanField()
    points = fields.BinaryField(null=True)
    """The samples that were known when the row was posted and not kept with a row before it (`billing.points`);
    empty where there were none, null in rows from before samples were kept."""

    class Meta:
        table = "energy"
        unique_together = (("site", "meter", "epoch", "from_qty"), ("site", "meter", "epoch", "to_qty"))


class Rating(Model):
    """What an interval costs. `amount_nano = (to_qty - from_qty) * price_micro`, exactly."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    meter = fields.CharField(max_length=64)
    epoch = fields.BigIntField()
    from_qty = fields.BigIntField()
    to_qty = fields.BigIntField()
    revision = fields.BigIntField()
    active = fields.BooleanField()
    account = fields.CharField(max_length=128)
    utility = fields.CharField(max_length=16)
    tariff = fields.CharField(max_length=64)
    version = fields.BigIntField()
    month = fields.BigIntField()
    period = fields.CharField(max_length=64, null=True)
    tier = fields.BigIntField(null=True)
    price_micro = fields.BigIntField()
    amount_nano = fields.BigIntField()
    journal_seq = fields.BigIntField(null=True)

    class Meta:
        table = "rating"
        unique_together = (("site", "meter", "epoch", "from_qty", "revision"),)
        indexes = (("site", "journal_seq"),)


class QuarantinedReading(Model):
    """A register value that was not believed, kept for review."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    meter = fields.CharField(max_length=64)
    epoch = fields.BigIntField()
    raw_qty = fields.BigIntField()
    ts = fields.BigIntField()
    sid = fields.CharField(max_length=64)
    seq = fields.BigIntField()
    reason = fields.CharField(max_length=200)
    head_qty = fields.BigIntField()

    class Meta:
        table = "quarantined_reading"
        unique_together = (("site", "meter", "ts", "sid", "seq"),)
