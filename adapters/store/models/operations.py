"""What happened to devices and supplies: incidents, alarms, commands, locks, relays, connections."""

from tortoise import fields
from tortoise.models import Model


class Incident(Model):
    """Something about a device that a person should know; open while `resolved_ts` is NULL."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    device = fields.CharField(max_length=64)
    kind = fields.CharField(max_length=64)
    since = fields.BigIntField()
    count = fields.BigIntField(default=1)
    detail = fields.TextField()
    resolved_ts = fields.BigIntField(null=True)
    closed_by = fields.CharField(max_length=200, default="")
    closed_why = fields.TextField(default="")

    class Meta:
        table = "incident"
        unique_together = (("site", "device", "kind", "since"),)


class Alarm(Model):
    """An alarm with its present severity; `cleared_ts` is NULL while it stands."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    rule = fields.CharField(max_length=128)
    rule_version = fields.BigIntField()
    twin = fields.CharField(max_length=72)
    tenant = fields.CharField(max_length=64)
    since = fields.BigIntField()
    changed_ts = fields.BigIntField()
    cleared_ts = fields.BigIntField(null=True)
    severity = fields.CharField(max_length=16)
    active = fields.BooleanField()
    because = fields.TextField()

    class Meta:
        table = "alarm"
        unique_together = (("site", "rule", "twin", "since"),)
        indexes = (("site", "active"),)


class Command(Model):
    """A command and the state it has reached."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    cmd = fields.CharField(max_length=64)
    device = fields.CharField(max_length=64)
    tenant = fields.CharField(max_length=64)
    op = fields.CharField(max_length=32)
    target = fields.CharField(max_length=16)
    fence = fields.BigIntField()
    state = fields.CharField(max_length=16)
    ts = fields.BigIntField()
    issued = fields.BigIntField()
    exp = fields.BigIntField()
    why = fields.TextField()
    reason = fields.TextField()

    class Meta:
        table = "command"
        unique_together = (("site", "cmd"),)
        indexes = (("site", "device", "fence"),)


class CommandStep(Model):
    """History: one state that a command reached."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    cmd = fields.CharField(max_length=64)
    state = fields.CharField(max_length=16)
    ts = fields.BigIntField()
    reason = fields.TextField()

    class Meta:
        table = "command_step"
        unique_together = (("site", "cmd", "state", "ts"),)


class StandingLock(Model):
    """The present state of one lock of one breaker; a released one stays with `active` false."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    breaker = fields.CharField(max_length=64)
    lock = fields.CharField(max_length=32)
    active = fields.BooleanField()
    who = fields.CharField(max_length=200)
    why = fields.TextField()
    ts = fields.BigIntField()
    until = fields.BigIntField(null=True)
    rule = fields.CharField(max_length=128)
    rule_version = fields.BigIntField()
    group_id = fields.CharField(max_length=72, default="")
    """The group whose act changed the lock last, with its number; empty where no person ever did."""
    act_seq = fields.BigIntField(default=0)

    class Meta:
        table = "standing_lock"
        unique_together = (("site", "breaker", "lock"),)


class LockChange(Model):
    """History of locks."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    breaker = fields.CharField(max_length=64)
    lock = fields.CharField(max_length=32)
    active = fields.BooleanField()
    who = fields.CharField(max_length=200)
    why = fields.TextField()
    ts = fields.BigIntField()
    until = fields.BigIntField(null=True)
    rule = fields.CharField(max_length=128)
    rule_version = fields.BigIntField()

    class Meta:
        table = "lock_change"
        unique_together = (("site", "breaker", "lock", "ts", "active"),)


class RelayReport(Model):
    """History of reported relay and valve positions."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    breaker = fields.CharField(max_length=64)
    relay = fields.CharField(max_length=16)
    ts = fields.BigIntField()
    cause = fields.CharField(max_length=200)

    class Meta:
        table = "relay_report"
        unique_together = (("site", "breaker", "ts", "relay"),)


class DeviceConfig(Model):
    """Versions of configurations that devices were told, each as a whole; `taken_ts` is when a device first said that
    it is in force."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    device = fields.CharField(max_length=64)
    ver = fields.BigIntField()
    settings = fields.TextField()
    issued = fields.BigIntField()
    taken_ts = fields.BigIntField(null=True)

    class Meta:
        table = "device_config"
        unique_together = (("site", "device", "ver"),)


class SupplyChange(Model):
    """History of the disconnect state machine."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    tenant = fields.CharField(max_length=64)
    state_before = fields.CharField(max_length=32)
    state_after = fields.CharField(max_length=32)
    ts = fields.BigIntField()
    balance_nano = fields.BigIntField()
    held = fields.TextField()

    class Meta:
        table = "supply_change"
        unique_together = (("site", "tenant", "ts", "state_before", "state_after"),)


class ConnectionChange(Model):
    """History of devices and gateways going online and offline."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    device = fields.CharField(max_length=64)
    state = fields.CharField(max_length=16)
    sid = fields.CharField(max_length=64)
    ts = fields.BigIntField()
    gateway = fields.BooleanField()

    class Meta:
        table = "connection_change"
        unique_together = (("site", "device", "ts", "state", "sid"),)
