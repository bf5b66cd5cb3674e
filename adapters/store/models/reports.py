"""Sums that reports read instead of millions of rows. They can be thrown away: they come from posted rows alone."""

from tortoise import fields
from tortoise.models import Model


class ReportMonth(Model):
    """What one payer used of one meter in one local month, by price period and by what kind of posting.

    `source` is `charge`, `vacancy`, `adjustment` or the kind of a fee line. Quantities are Wh or litres, amounts
    nano-units; `tenant` is empty where the landlord pays, `meter` and `period` where there is none.
    """

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    month = fields.BigIntField()
    tenant = fields.CharField(max_length=64)
    meter = fields.CharField(max_length=64)
    utility = fields.CharField(max_length=16)
    tariff = fields.CharField(max_length=64)
    period = fields.CharField(max_length=64)
    source = fields.CharField(max_length=32)
    quantity = fields.BigIntField()
    amount_nano = fields.BigIntField()

    class Meta:
        table = "report_month"
        unique_together = (("site", "month", "tenant", "meter", "utility", "tariff", "period", "source"),)


class ReportCut(Model):
    """How far the sums of a site have come: the last row of each table that is in them."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    rating = fields.BigIntField()
    adjustment = fields.BigIntField()
    fee_line = fields.BigIntField()

    class Meta:
        table = "report_cut"
        unique_together = (("site",),)
