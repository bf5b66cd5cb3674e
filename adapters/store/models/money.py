"""Double entry, payments, and the acts that carry money to the twins. Amounts are nano-units (1e-9 of the currency).

A journal's legs sum to zero. On `tenant:<id>:wallet` a positive leg is the tenant's money coming in, a negative one
going out; the other accounts stand on the opposite side. Journals of a site are numbered without gaps and chained by
hash.

Only one index of `journal` and of `leg` starts with the site: a plan made while they are empty could otherwise choose
one that does not narrow further, and walk through the whole journal for every row.
"""

from tortoise import fields
from tortoise.models import Model


class Journal(Model):
    """One posting: why money moved. `reference` is its natural key; `hash` covers it and everything before it."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    seq = fields.BigIntField()
    kind = fields.CharField(max_length=32)
    ts = fields.BigIntField()
    reference = fields.CharField(max_length=255)
    actor = fields.CharField(max_length=200)
    memo = fields.TextField()
    prev_hash = fields.BinaryField()
    hash = fields.BinaryField()

    class Meta:
        table = "journal"
        unique_together = (("site", "seq"), ("reference", "site"))


class Leg(Model):
    """One side of a posting. The account is stored with its order in the journal, which the hash covers."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    seq = fields.BigIntField()
    place = fields.BigIntField()
    account = fields.CharField(max_length=128)
    amount_nano = fields.BigIntField()

    class Meta:
        table = "leg"
        unique_together = (("site", "seq", "place"),)
        indexes = (("account", "site", "seq"),)


class Account(Model):
    """Projection of a wallet's legs: `balance = credits_nano - charges_nano`.

    `credits_seq` is the number of the act that told the twin last; `version` counts the changes.
    """

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    account = fields.CharField(max_length=128)
    tenant = fields.CharField(max_length=64)
    credits_nano = fields.BigIntField()
    credits_seq = fields.BigIntField()
    charges_nano = fields.BigIntField()
    version = fields.BigIntField()

    class Meta:
        table = "account"
        unique_together = (("site", "account"),)


class Payment(Model):
    """Money received from outside, once per (channel, reference) and once per (tenant, key)."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    payment = fields.CharField(max_length=64)
    tenant = fields.CharField(max_length=64)
    amount_nano = fields.BigIntField()
    channel = fields.CharField(max_length=64)
    reference = fields.CharField(max_length=200)
    key = fields.CharField(max_length=200)
    input_hash = fields.CharField(max_length=64)
    actor = fields.CharField(max_length=200)
    ts = fields.BigIntField()
    journal_seq = fields.BigIntField()
    act_seq = fields.BigIntField()
    credits_nano = fields.BigIntField()

    class Meta:
        table = "payment"
        unique_together = (("site", "payment"), ("site", "tenant", "key"), ("site", "journal_seq"))


class Act(Model):
    """Outbox: an act born in SQL for the twins of a group, numbered within the group, until its twin has it."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    group_id = fields.CharField(max_length=72)
    seq = fields.BigIntField()
    body = fields.TextField()
    ts = fields.BigIntField()
    delivered = fields.BooleanField()
    owed = fields.BigIntField(default=0)
    """1 until the ledger has what the twin made of the act, for acts that twins made from SQL carry out themselves."""

    class Meta:
        table = "act"
        unique_together = (("site", "group_id", "seq"),)


class ActHead(Model):
    """The last act number given to a group."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    group_id = fields.CharField(max_length=72)
    seq = fields.BigIntField()

    class Meta:
        table = "act_head"
        unique_together = (("site", "group_id"),)


class IdempotentAnswer(Model):
    """The answer once given to a call, so that its repetition gets the same one and changes nothing."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    scope = fields.CharField(max_length=200)
    key = fields.CharField(max_length=200)
    input_hash = fields.CharField(max_length=64)
    answer = fields.TextField()
    ts = fields.BigIntField()

    class Meta:
        table = "idempotent_answer"
        unique_together = (("site", "scope", "key"),)
