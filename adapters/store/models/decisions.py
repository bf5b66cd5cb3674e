"""What rules decided, whom they told, and what the ledger refused to post."""

from tortoise import fields
from tortoise.models import Model


class RuleChange(Model):
    """A rule moved for one twin; `record` explains why."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    rule = fields.CharField(max_length=128)
    rule_version = fields.BigIntField()
    twin = fields.CharField(max_length=72)
    ts = fields.BigIntField()
    state = fields.CharField(max_length=32)
    transition = fields.CharField(max_length=64)
    record = fields.TextField()

    class Meta:
        table = "rule_change"
        unique_together = (("site", "rule", "twin", "ts", "transition"),)


class Notification(Model):
    """Somebody is to be told; `state` is `wanted`, `delivered` or `failed`, `proof` the channel's own id for it.

    `recipient` is `tenant`, `operator` or a group of contacts; `channels` as JSON, empty for all of them.
    """

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    tenant = fields.CharField(max_length=64)
    template = fields.CharField(max_length=64)
    ts = fields.BigIntField()
    data = fields.TextField()
    state = fields.CharField(max_length=16)
    attempts = fields.BigIntField()
    proof = fields.TextField()
    settled_ts = fields.BigIntField(null=True)
    twin = fields.CharField(max_length=72, default="")
    recipient = fields.CharField(max_length=64, default="")
    channels = fields.TextField(default="")

    class Meta:
        table = "notification"
        unique_together = (("site", "tenant", "template", "ts", "twin", "recipient"),)
        indexes = (("site", "state"),)


class RuleParam(Model):
    """A parameter of a twin that a rule has set, as JSON; null where people have said something else since."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    scope = fields.CharField(max_length=16)
    twin = fields.CharField(max_length=72)
    name = fields.CharField(max_length=64)
    value = fields.TextField(null=True)
    ts = fields.BigIntField()
    rule = fields.CharField(max_length=128)
    rule_version = fields.BigIntField()

    class Meta:
        table = "rule_param"
        unique_together = (("site", "scope", "twin", "name"),)


class WebhookCall(Model):
    """A rule asks an outside system to be called; `state` is `wanted`, `delivered` or `failed`."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    rule = fields.CharField(max_length=128)
    twin = fields.CharField(max_length=72)
    ts = fields.BigIntField()
    name = fields.CharField(max_length=128)
    data = fields.TextField()
    state = fields.CharField(max_length=16)
    attempts = fields.BigIntField()
    next_ts = fields.BigIntField(null=True)
    settled_ts = fields.BigIntField(null=True)
    answer = fields.TextField(null=True)

    class Meta:
        table = "webhook_call"
        unique_together = (("site", "rule", "twin", "ts", "name"),)


class RefusedEffect(Model):
    """An effect that could not be posted, with the reason; it never blocks those behind it."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    entry = fields.CharField(max_length=64)
    place = fields.BigIntField()
    group_id = fields.CharField(max_length=72)
    body = fields.TextField()
    reason = fields.TextField()

    class Meta:
        table = "refused_effect"
        unique_together = (("site", "entry", "place"),)
