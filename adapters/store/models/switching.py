"""Bulk switching: jobs, and what became of each breaker in one."""

from tortoise import fields
from tortoise.models import Model


class SwitchJob(Model):
    """One order of a person for many breakers. What was ordered stays; its state moves until it has ended."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    job = fields.CharField(max_length=32)
    operation = fields.CharField(max_length=8)
    lock = fields.CharField(max_length=16)
    undo_of = fields.CharField(max_length=32)
    selection = fields.TextField()
    pace = fields.TextField()
    include = fields.TextField()
    until_ts = fields.BigIntField(null=True)
    who = fields.CharField(max_length=200)
    why = fields.TextField()
    asked_ts = fields.BigIntField()
    approval = fields.CharField(max_length=32)
    state = fields.CharField(max_length=16)
    reason = fields.CharField(max_length=64)
    changed_by = fields.CharField(max_length=200)
    changed_why = fields.TextField()
    changed_ts = fields.BigIntField()
    started_ts = fields.BigIntField(null=True)
    ended_ts = fields.BigIntField(null=True)
    bad_before = fields.BigIntField()
    settled_before = fields.BigIntField()

    class Meta:
        table = "switch_job"
        unique_together = (("site", "job"),)
        indexes = (("site", "state"),)


class SwitchStep(Model):
    """One breaker of a job: what was done to it (`act_seq` of its group at `sent_ts`) and what came of that."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    job = fields.CharField(max_length=32)
    device = fields.CharField(max_length=64)
    tenant = fields.CharField(max_length=64)
    group_id = fields.CharField(max_length=72)
    state = fields.CharField(max_length=16)
    reason = fields.CharField(max_length=64)
    detail = fields.TextField()
    command = fields.CharField(max_length=64)
    act_seq = fields.BigIntField(null=True)
    sent_ts = fields.BigIntField(null=True)
    settled_ts = fields.BigIntField(null=True)
    late = fields.BigIntField()

    class Meta:
        table = "switch_step"
        unique_together = (("site", "job", "device"),)
        indexes = (("site", "job", "state"),)
