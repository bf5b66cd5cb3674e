"""Tariffs and rulesets: immutable versions, and a pointer to the one in force."""

from tortoise import fields
from tortoise.models import Model


class Tariff(Model):
    """A tariff by name; `current_version` is the document that rates from now on."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    tariff = fields.CharField(max_length=64)
    utility = fields.CharField(max_length=16)
    current_version = fields.BigIntField()

    class Meta:
        table = "tariff"
        unique_together = (("site", "tariff"),)


class TariffVersion(Model):
    """One imported document of a tariff, never changed."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    tariff = fields.CharField(max_length=64)
    version = fields.BigIntField()
    digest = fields.CharField(max_length=64)
    document = fields.TextField()
    who = fields.CharField(max_length=200)
    ts = fields.BigIntField()

    class Meta:
        table = "tariff_version"
        unique_together = (("site", "tariff", "version"),)


class Ruleset(Model):
    """A ruleset by name; `active_version` is NULL while none is active."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    ruleset = fields.CharField(max_length=64)
    active_version = fields.BigIntField(null=True)

    class Meta:
        table = "ruleset"
        unique_together = (("site", "ruleset"),)


class RulesetVersion(Model):
    """One version of a ruleset as its file says, never changed."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    ruleset = fields.CharField(max_length=64)
    version = fields.BigIntField()
    digest = fields.CharField(max_length=64)
    document = fields.TextField()
    who = fields.CharField(max_length=200)
    ts = fields.BigIntField()

    class Meta:
        table = "ruleset_version"
        unique_together = (("site", "ruleset", "version"),)
