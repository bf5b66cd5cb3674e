"""Who did what, and who may."""

from tortoise import fields
from tortoise.models import Model


class Audit(Model):
    """One act of a person or of the platform on its own behalf, with the state before and after (JSON text)."""

    id = fields.BigIntField(primary_key=True)
    site = fields.CharField(max_length=64)
    ts = fields.BigIntField()
    who = fields.CharField(max_length=200)
    what = fields.CharField(max_length=64)
    subject = fields.CharField(max_length=200)
    state_before = fields.TextField(null=True)
    state_after = fields.TextField(null=True)

    class Meta:
        table = "audit"
        indexes = (("site", "id"),)


class Token(Model):
    """A named bearer token: a role, perhaps one site, perhaps one tenant. Only the hash of its secret is stored."""

    id = fields.BigIntField(primary_key=True)
    name = fields.CharField(max_length=128)
    role = fields.CharField(max_length=32)
    digest = fields.CharField(max_length=64)
    site = fields.CharField(max_length=64, null=True)
    tenant = fields.CharField(max_length=64, null=True)
    created_ts = fields.BigIntField()
    created_by = fields.CharField(max_length=200)
    revoked_ts = fields.BigIntField(null=True)
    revoked_by = fields.CharField(max_length=200, null=True)

    class Meta:
        table = "token"
        unique_together = (("digest",),)
