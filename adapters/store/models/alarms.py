"""What people make of alarms, beside the rows that the ledger writer keeps; and the probe of health."""

from tortoise import fields
from tortoise.models import Model


class AlarmCare(Model):
    """One alarm (an occurrence) as people have it: acknowledged up to a severity, assigned to somebody or to nobody."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    rule = fields.CharField(max_length=128)
    twin = fields.CharField(max_length=72)
    since = fields.BigIntField()
    acknowledged = fields.BooleanField()
    ack_severity = fields.CharField(max_length=16)
    ack_by = fields.CharField(max_length=200)
    ack_ts = fields.BigIntField(null=True)
    assignee = fields.CharField(max_length=200)

    class Meta:
        table = "alarm_care"
        unique_together = (("site", "rule", "twin", "since"),)
        indexes = (("site", "assignee"),)


class AlarmShelf(Model):
    """A rule's alarms of one twin are put aside up to a severity, until an instant or until somebody ends it."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    rule = fields.CharField(max_length=128)
    twin = fields.CharField(max_length=72)
    severity = fields.CharField(max_length=16)
    until_ts = fields.BigIntField()
    who = fields.CharField(max_length=200)
    reason = fields.TextField()
    ts = fields.BigIntField()
    ended_ts = fields.BigIntField(null=True)

    class Meta:
        table = "alarm_shelf"
        unique_together = (("site", "rule", "twin"),)


class AlarmNote(Model):
    """History of an alarm's care: who did what, and said what. Append-only by trigger."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    rule = fields.CharField(max_length=128)
    twin = fields.CharField(max_length=72)
    since = fields.BigIntField()
    ts = fields.BigIntField()
    who = fields.CharField(max_length=200)
    what = fields.CharField(max_length=32)
    text = fields.TextField()
    data = fields.TextField()

    class Meta:
        table = "alarm_note"
        indexes = (("site", "rule", "twin", "since"),)


class AlarmEvidence(Model):
    """The samples that prove an alarm. Append-only by trigger."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    rule = fields.CharField(max_length=128)
    twin = fields.CharField(max_length=72)
    since = fields.BigIntField()
    ts = fields.BigIntField()
    evidence = fields.TextField()

    class Meta:
        table = "alarm_evidence"
        unique_together = (("site", "rule", "twin", "since", "ts"),)


class NoticeGroup(Model):
    """Alarms that are told together, and the newest notice that told for them."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    together = fields.TextField()
    tenant = fields.CharField(max_length=64)
    template = fields.CharField(max_length=64)
    ts = fields.BigIntField()
    twin = fields.CharField(max_length=72, default="")
    recipient = fields.CharField(max_length=64, default="")

    class Meta:
        table = "notice_group"
        unique_together = (("site", "together"),)


class WriteProbe(Model):
    """Always empty: health writes here and takes it back, to learn whether the database can write again."""

    id = fields.BigIntField(primary_key=True)
    filler = fields.TextField()

    class Meta:
        table = "write_probe"
