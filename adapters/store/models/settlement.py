"""Fees, settlement and bills. Amounts are nano-units, quantities Wh, litres or W, months and days numbers (202601).

A `fee_line` is a charge born in SQL, with the facts that it was computed from. A `settlement_run` is one month of one
site; what belongs to a bill is decided by its *window*: everything of the months through `through_month` that was
posted up to its cuts (number of journal, row of rating, number of adjustment), less what an earlier bill's window holds
already.
"""

from tortoise import fields
from tortoise.models import Model


class FeeLine(Model):
    """One charge born in SQL. `day` is 0 for charges by the month; `revision` counts the lines of one key.

    A later revision is the difference between what follows from the facts now and what was charged before.
    """

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    kind = fields.CharField(max_length=32)
    tenant = fields.CharField(max_length=64)
    account = fields.CharField(max_length=128)
    meter = fields.CharField(max_length=64)
    utility = fields.CharField(max_length=16)
    tariff = fields.CharField(max_length=64)
    version = fields.BigIntField()
    name = fields.CharField(max_length=128)
    month = fields.BigIntField()
    day = fields.BigIntField()
    revision = fields.BigIntField()
    quantity = fields.BigIntField(null=True)
    unit = fields.CharField(max_length=8)
    price_micro = fields.BigIntField(null=True)
    amount_nano = fields.BigIntField()
    estimated = fields.BooleanField()
    facts = fields.TextField()
    ts = fields.BigIntField()
    journal_seq = fields.BigIntField(null=True)

    class Meta:
        table = "fee_line"
        unique_together = (("site", "kind", "tenant", "meter", "name", "month", "day", "revision"),)
        indexes = (("site", "tenant", "month"), ("site", "month", "kind"), ("site", "journal_seq"))


class SettlementRun(Model):
    """The settlement of one month: its window, its state (`running`, `waiting`, `drafted`, `done`), what it reports."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    month = fields.BigIntField()
    state = fields.CharField(max_length=16)
    attempt = fields.BigIntField()
    who = fields.CharField(max_length=200)
    policy = fields.CharField(max_length=16)
    started_ts = fields.BigIntField()
    changed_ts = fields.BigIntField()
    finished_ts = fields.BigIntField(null=True)
    end_ts = fields.BigIntField()
    prior_month = fields.BigIntField()
    prior_end_ts = fields.BigIntField()
    low_rating = fields.BigIntField()
    prior_rating = fields.BigIntField()
    prior_adjustment = fields.BigIntField()
    prior_seq = fields.BigIntField()
    cut_rating = fields.BigIntField(null=True)
    cut_adjustment = fields.BigIntField(null=True)
    cut_seq = fields.BigIntField(null=True)
    next_low_rating = fields.BigIntField(null=True)
    anchor = fields.CharField(max_length=64)
    report = fields.TextField()

    class Meta:
        table = "settlement_run"
        unique_together = (("site", "month"),)


class SettlementStep(Model):
    """One step of a run that is done, for one tenant or bill where the step goes by them."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    month = fields.BigIntField()
    attempt = fields.BigIntField()
    step = fields.CharField(max_length=32)
    subject = fields.CharField(max_length=128)
    ts = fields.BigIntField()

    class Meta:
        table = "settlement_step"
        unique_together = (("site", "month", "attempt", "step", "subject"),)


class ChargeSum(Model):
    """Energy of one wallet at one price within a window, from rating and adjustments. `scope` names the window."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    scope = fields.CharField(max_length=128)
    adjusted = fields.BooleanField()
    account = fields.CharField(max_length=128)
    meter = fields.CharField(max_length=64)
    epoch = fields.BigIntField()
    utility = fields.CharField(max_length=16)
    tariff = fields.CharField(max_length=64)
    version = fields.BigIntField()
    month = fields.BigIntField()
    period = fields.CharField(max_length=64, null=True)
    tier = fields.BigIntField(null=True)
    price_micro = fields.BigIntField()
    quantity = fields.BigIntField()
    amount_nano = fields.BigIntField()
    intervals = fields.BigIntField()
    from_qty = fields.BigIntField(null=True)
    to_qty = fields.BigIntField(null=True)

    class Meta:
        table = "charge_sum"
        indexes = (("site", "scope", "account"), ("site", "account", "month"))


class BillRow(Model):
    """A bill as it was drafted or issued; `document` is the whole of it, `digest` its SHA-256.

    An issued one never changes but for being replaced by a correction.
    """

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    bill = fields.CharField(max_length=128)
    kind = fields.CharField(max_length=16)
    holder = fields.CharField(max_length=64)
    month = fields.BigIntField()
    revision = fields.BigIntField()
    state = fields.CharField(max_length=16)
    series = fields.CharField(max_length=64)
    number = fields.BigIntField(null=True)
    from_ts = fields.BigIntField()
    to_ts = fields.BigIntField()
    corrects = fields.CharField(max_length=128, null=True)
    replaced_by = fields.CharField(max_length=128, null=True)
    drafted_ts = fields.BigIntField()
    issued_ts = fields.BigIntField(null=True)
    who = fields.CharField(max_length=200)
    opening_nano = fields.BigIntField()
    charges_nano = fields.BigIntField()
    credits_nano = fields.BigIntField()
    closing_nano = fields.BigIntField()
    journal_seq = fields.BigIntField()
    document = fields.TextField()
    digest = fields.CharField(max_length=64)

    class Meta:
        table = "bill"
        unique_together = (("site", "bill"), ("site", "series", "number"))
        indexes = (("site", "month", "holder"), ("site", "holder", "id"))


class BillWallet(Model):
    """One wallet on a bill: its window and the one before it, and its balances."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    bill = fields.CharField(max_length=128)
    tenant = fields.CharField(max_length=64)
    account = fields.CharField(max_length=128)
    through_month = fields.BigIntField()
    end_ts = fields.BigIntField()
    cut_rating = fields.BigIntField()
    cut_adjustment = fields.BigIntField()
    cut_seq = fields.BigIntField()
    prior_month = fields.BigIntField()
    prior_end_ts = fields.BigIntField()
    prior_rating = fields.BigIntField()
    prior_adjustment = fields.BigIntField()
    prior_seq = fields.BigIntField()
    opening_nano = fields.BigIntField()
    charges_nano = fields.BigIntField()
    credits_nano = fields.BigIntField()
    closing_nano = fields.BigIntField()

    class Meta:
        table = "bill_wallet"
        unique_together = (("site", "bill", "account"),)
        indexes = (("site", "account", "id"),)


class BillLine(Model):
    """One charge line of a bill, for reports and proofs; the document has it in full."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    bill = fields.CharField(max_length=128)
    place = fields.BigIntField()
    account = fields.CharField(max_length=128)
    kind = fields.CharField(max_length=32)
    name_zh = fields.CharField(max_length=200)
    name_en = fields.CharField(max_length=200)
    meter = fields.CharField(max_length=64)
    utility = fields.CharField(max_length=16)
    tariff = fields.CharField(max_length=64)
    version = fields.BigIntField(null=True)
    month = fields.BigIntField()
    period = fields.CharField(max_length=64)
    tier = fields.BigIntField(null=True)
    quantity = fields.BigIntField(null=True)
    unit = fields.CharField(max_length=8)
    price_micro = fields.BigIntField(null=True)
    amount_nano = fields.BigIntField()

    class Meta:
        table = "bill_line"
        unique_together = (("site", "bill", "place"),)


class BillNumber(Model):
    """The last statement number given in a series; its row lock makes numbers follow each other without gaps."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    series = fields.CharField(max_length=64)
    given = fields.BigIntField()

    class Meta:
        table = "bill_number"
        unique_together = (("site", "series"),)


class SettlementPrice(Model):
    """The price (结算单价) that a housekeeper entered for a month: of a tariff, or of a utility; the newest holds."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    month = fields.BigIntField()
    scope = fields.CharField(max_length=80)
    revision = fields.BigIntField()
    price_micro = fields.BigIntField(null=True)
    who = fields.CharField(max_length=200)
    why = fields.TextField()
    ts = fields.BigIntField()

    class Meta:
        table = "settlement_price"
        unique_together = (("site", "month", "scope", "revision"),)


class BillPush(Model):
    """The notice of a bill to its holder: `wanted`, `delivered` (with the channel's proof) or `failed`."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    bill = fields.CharField(max_length=128)
    holder = fields.CharField(max_length=64)
    state = fields.CharField(max_length=16)
    attempts = fields.BigIntField()
    proof = fields.CharField(max_length=200)
    trouble = fields.TextField()
    wanted_by = fields.CharField(max_length=200)
    wanted_ts = fields.BigIntField()
    changed_ts = fields.BigIntField()

    class Meta:
        table = "bill_push"
        unique_together = (("site", "bill"),)
        indexes = (("site", "state"),)
