"""What devices have sent, as it came, and what people decided about versions of rules."""

from tortoise import fields
from tortoise.models import Model


class HistoryBlock(Model):
    """Recorded messages of one device, or of many (`device` is empty) until they are sorted; `seq` is their order.

    `from_ts` and `to_ts` are the first and the last instant of receipt inside.
    """

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    device = fields.CharField(max_length=64)
    seq = fields.BigIntField()
    from_ts = fields.BigIntField()
    to_ts = fields.BigIntField()
    count = fields.BigIntField()
    blob = fields.BinaryField()

    class Meta:
        table = "history_block"
        unique_together = (("site", "seq", "device"),)
        indexes = (("site", "device", "seq"), ("site", "to_ts"))


class RulesetActivation(Model):
    """The pointer of a ruleset was moved to `version` (NULL: switched off), by whom and why; never changed."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    ruleset = fields.CharField(max_length=64)
    version = fields.BigIntField(null=True)
    previous = fields.BigIntField(null=True)
    ts = fields.BigIntField()
    who = fields.CharField(max_length=200)
    why = fields.TextField()
    source = fields.CharField(max_length=16)

    class Meta:
        table = "ruleset_activation"
        indexes = (("site", "ruleset", "id"),)


class RuleShadow(Model):
    """A version that is evaluated on what really happens, beside the active one, without acting."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    ruleset = fields.CharField(max_length=64)
    version = fields.BigIntField()
    state = fields.CharField(max_length=16)
    started_ts = fields.BigIntField()
    started_by = fields.CharField(max_length=200)
    stopped_ts = fields.BigIntField(null=True)
    stopped_by = fields.CharField(max_length=200, null=True)
    seen_ts = fields.BigIntField(null=True)
    messages = fields.BigIntField(default=0)
    detail = fields.TextField()

    class Meta:
        table = "rule_shadow"
        indexes = (("site", "state"),)


class ShadowFinding(Model):
    """What one side of a shadow run (`active`, `candidate`) would have done."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    shadow = fields.BigIntField()
    side = fields.CharField(max_length=16)
    kind = fields.CharField(max_length=32)
    rule = fields.CharField(max_length=128)
    twin = fields.CharField(max_length=72)
    tenant = fields.CharField(max_length=72)
    ts = fields.BigIntField()
    detail = fields.CharField(max_length=200)

    class Meta:
        table = "shadow_finding"
        unique_together = (("shadow", "side", "kind", "rule", "twin", "ts", "detail"),)
