"""Accounts beside their wallets: approvals, debts, refunds, corrections, states, and the anchors of the ledger.

Amounts are nano-units. `approval`, `debt` and `refund` have a state that moves until it is final; the other tables
take rows for good.
"""

from tortoise import fields
from tortoise.models import Model


class Approval(Model):
    """A wish of one person that a second person has to agree to. `body` is what its executor needs."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    approval = fields.CharField(max_length=32)
    kind = fields.CharField(max_length=64)
    subject = fields.CharField(max_length=200)
    body = fields.TextField()
    asked_by = fields.CharField(max_length=200)
    why = fields.TextField()
    asked_ts = fields.BigIntField()
    expires_ts = fields.BigIntField()
    key = fields.CharField(max_length=200)
    input_hash = fields.CharField(max_length=64)
    state = fields.CharField(max_length=16)
    decided_by = fields.CharField(max_length=200)
    decided_why = fields.TextField()
    decided_ts = fields.BigIntField(null=True)

    class Meta:
        table = "approval"
        unique_together = (("site", "approval"), ("site", "asked_by", "key"))
        indexes = (("site", "state"),)


class Debt(Model):
    """What a tenant owes beside the wallet; `remaining_nano` is the principal without its recoveries."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    debt = fields.CharField(max_length=32)
    tenant = fields.CharField(max_length=64)
    kind = fields.CharField(max_length=16)
    origin = fields.CharField(max_length=16)
    principal_nano = fields.BigIntField()
    share_percent = fields.BigIntField()
    cap_nano = fields.BigIntField(null=True)
    priority = fields.BigIntField()
    reason = fields.TextField()
    actor = fields.CharField(max_length=200)
    ts = fields.BigIntField()
    journal_seq = fields.BigIntField()
    remaining_nano = fields.BigIntField()
    state = fields.CharField(max_length=16)

    class Meta:
        table = "debt"
        unique_together = (("site", "debt"), ("site", "journal_seq"))
        indexes = (("site", "tenant", "state"),)


class DebtRecovery(Model):
    """A debt became smaller: an instalment from a payment, a cancellation, a write-off. `month` is local, yyyymm."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    debt = fields.CharField(max_length=32)
    tenant = fields.CharField(max_length=64)
    how = fields.CharField(max_length=16)
    payment = fields.CharField(max_length=64)
    amount_nano = fields.BigIntField()
    month = fields.BigIntField()
    actor = fields.CharField(max_length=200)
    ts = fields.BigIntField()
    journal_seq = fields.BigIntField()

    class Meta:
        table = "debt_recovery"
        unique_together = (("site", "debt", "journal_seq"),)
        indexes = (("site", "tenant"),)


class Refund(Model):
    """Money on its way back to a payer: taken from the wallet when asked for, so nobody can spend it twice."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    refund = fields.CharField(max_length=32)
    tenant = fields.CharField(max_length=64)
    payment = fields.CharField(max_length=64)
    amount_nano = fields.BigIntField()
    channel = fields.CharField(max_length=64)
    reason = fields.TextField()
    actor = fields.CharField(max_length=200)
    ts = fields.BigIntField()
    reserve_seq = fields.BigIntField()
    state = fields.CharField(max_length=16)
    approval = fields.CharField(max_length=32)
    reference = fields.CharField(max_length=200)
    detail = fields.TextField()
    settle_seq = fields.BigIntField(null=True)
    settled_by = fields.CharField(max_length=200)
    settled_ts = fields.BigIntField(null=True)

    class Meta:
        table = "refund"
        unique_together = (("site", "refund"), ("site", "reserve_seq"))
        indexes = (("site", "tenant"), ("site", "payment"), ("site", "state"))


class Correction(Model):
    """A journal that takes back all or a part of an earlier one, which stays as it is."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    original_seq = fields.BigIntField()
    journal_seq = fields.BigIntField()
    tenant = fields.CharField(max_length=64)
    amount_nano = fields.BigIntField()
    reason = fields.TextField()
    actor = fields.CharField(max_length=200)
    approval = fields.CharField(max_length=32)
    ts = fields.BigIntField()

    class Meta:
        table = "correction"
        unique_together = (("site", "journal_seq"),)
        indexes = (("site", "original_seq"),)


class AccountState(Model):
    """An account was opened, is being closed, was closed or opened again; the last row of a tenant holds."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    tenant = fields.CharField(max_length=64)
    seq = fields.BigIntField()
    state = fields.CharField(max_length=16)
    who = fields.CharField(max_length=200)
    why = fields.TextField()
    bill = fields.CharField(max_length=64)
    ts = fields.BigIntField()

    class Meta:
        table = "account_state"
        unique_together = (("site", "tenant", "seq"),)


class Anchor(Model):
    """The end of the journal chain at the end of a local day (yyyymmdd), to be kept elsewhere as well.

    `turnover_nano` is the sum of all positive legs so far, as text: it can outgrow 64 bits.
    """

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    day = fields.BigIntField()
    journal_seq = fields.BigIntField()
    journal_hash = fields.BinaryField()
    payments = fields.BigIntField()
    turnover_nano = fields.TextField()
    ts = fields.BigIntField()

    class Meta:
        table = "anchor"
        unique_together = (("site", "day"),)


class AnchorSeal(Model):
    """What an anchor says of one table: its rows up to an id, how many since the anchor before, and their digest.

    `columns` are those that the digest covers, in its order; `digest` continues that of the anchor before.
    """

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    day = fields.BigIntField()
    subject = fields.CharField(max_length=64)
    columns = fields.TextField()
    to_id = fields.BigIntField()
    rows = fields.BigIntField()
    digest = fields.BinaryField()

    class Meta:
        table = "anchor_seal"
        unique_together = (("site", "day", "subject"),)
