"""What routes about rules take and give, as types from which the OpenAPI document is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from api.http.numbers import LARGEST_VERSION
from rules.explain import Record
from twin.flows.replay_compare import Difference
from twin.flows.rule_versions import Preview
from twin.flows.tenant_words import LockReason
from twin.recorded import Activation, Shadow, StoredVersion

Why = Annotated[
    str, msgspec.Meta(min_length=1, max_length=500, description="Why, for the audit.", examples=["longer grace"])
]


class VersionRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A rule file as JSON, to be stored as a version; it is not active yet."""

    document: Annotated[dict[str, Any], msgspec.Meta(description="The rule file (ruleset.v1.json).")]


class ActivationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Activate a version that was added before."""

    version: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_VERSION, examples=[8])]
    why: Why
    accept_conflicts: Annotated[
        bool, msgspec.Meta(description="Activate although rules get into each other's way that did not before.")
    ] = False


class WhyRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The reason for a rollback or a deactivation."""

    why: Why


class ShadowRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A version to be evaluated on what happens, without acting."""

    version: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_VERSION, examples=[8])]


class AddedBody(msgspec.Struct, frozen=True):
    """A version is stored; `added` is false where the same stood there before."""

    ruleset: str
    version: int
    added: bool


class RulesetsBody(msgspec.Struct, frozen=True):
    """Versions of a site's rulesets, and every move of their pointers, newest first."""

    versions: list[StoredVersion]
    activations: list[Activation]


class ActivatedBody(msgspec.Struct, frozen=True):
    """The pointer was moved; `preview` says what that changed."""

    activation: Activation
    preview: Preview | None = None


class ExplainBody(msgspec.Struct, frozen=True):
    """Records of a rule, and each told in words."""

    records: list[Record]
    text: list[str]
    language: Literal["zh", "en"]


class TenantWhyBody(msgspec.Struct, frozen=True):
    """Why a tenant is cut off, or is not; `text` by language."""

    tenant: str
    at: int
    cut: bool
    balance: str
    state: str
    locks: list[LockReason]
    ahead: list[Record]
    text: dict[str, str]


class ShadowBody(msgspec.Struct, frozen=True):
    """A shadow run with what it found: how often each kind came on either side, and where the sides differ."""

    shadow: Shadow
    active: dict[str, int]
    candidate: dict[str, int]
    differences: list[Difference]
    differences_total: int


class ShadowsBody(msgspec.Struct, frozen=True):
    """The newest shadow run of each ruleset."""

    items: list[ShadowBody]
