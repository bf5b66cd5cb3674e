"""What happens to meters besides being read in order: late and manual readings, reviews, swaps and hand-overs."""

from tortoise import fields
from tortoise.models import Model


class LateReading(Model):
    """A believed reading that came when newer ones had been charged, or that a person gave. Posted for good.

    `qty` is the unwrapped primary quantity in `epoch`; `raw_qty` what the device showed. `source` is `device`,
    `manual`, `accepted`, `estimated`, `replacement` or `handover`. `rates` are unwrapped sub-registers, a JSON array in
    the order of `billing.points.RATE_NAMES`, or null.
    """

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    meter = fields.CharField(max_length=64)
    epoch = fields.BigIntField()
    raw_qty = fields.BigIntField()
    qty = fields.BigIntField()
    ts = fields.BigIntField()
    sid = fields.CharField(max_length=64)
    seq = fields.BigIntField()
    rates = fields.TextField(null=True)
    source = fields.CharField(max_length=16)

    class Meta:
        table = "late_reading"
        unique_together = (("site", "meter", "ts", "sid", "seq"),)


class ReadingDecision(Model):
    """What a person decided about a quarantined reading (named by its identity): `accept`, `reject` or `estimate`."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    meter = fields.CharField(max_length=64)
    ts = fields.BigIntField()
    sid = fields.CharField(max_length=64)
    seq = fields.BigIntField()
    decision = fields.CharField(max_length=16)
    raw_qty = fields.BigIntField(null=True)
    overtaken = fields.BooleanField()
    who = fields.CharField(max_length=200)
    why = fields.TextField()
    decided_ts = fields.BigIntField()

    class Meta:
        table = "reading_decision"
        unique_together = (("site", "meter", "ts", "sid", "seq"),)


class MeterEvent(Model):
    """An act of a person on a meter: `replacement`, `ratio`, `rollover`, `reset`, `reading`, `handover`. For good.

    `ts` is the instant it is about, `made_ts` when it was made known; `body` says what was found and done.
    """

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    meter = fields.CharField(max_length=64)
    kind = fields.CharField(max_length=16)
    ts = fields.BigIntField()
    body = fields.TextField()
    who = fields.CharField(max_length=200)
    why = fields.TextField()
    made_ts = fields.BigIntField()

    class Meta:
        table = "meter_event"
        indexes = (("site", "meter"),)


class Handover(Model):
    """One meter on its way from one group to another. Only the state moves, and none leaves `done`."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    handover = fields.CharField(max_length=64)
    meter = fields.CharField(max_length=64)
    breaker = fields.CharField(max_length=64, null=True)
    from_group = fields.CharField(max_length=72)
    to_group = fields.CharField(max_length=72)
    at = fields.BigIntField()
    who = fields.CharField(max_length=200)
    why = fields.TextField()
    ts = fields.BigIntField()
    state = fields.CharField(max_length=16)
    changed_ts = fields.BigIntField()

    class Meta:
        table = "handover"
        unique_together = (("site", "handover", "meter"),)
