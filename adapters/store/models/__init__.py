"""Tables of the store, as Tortoise models, by subject. Rows never leave `adapters.store`."""

from adapters.store.models.audit import Audit, Token
from adapters.store.models.decisions import Notification, RefusedEffect, RuleChange, WebhookCall
from adapters.store.models.energy import Energy, QuarantinedReading, Rating, RegisterEpoch
from adapters.store.models.money import Account, Act, ActHead, IdempotentAnswer, Journal, Leg, Payment
from adapters.store.models.operations import (
    Alarm,
    Command,
    CommandStep,
    ConnectionChange,
    Incident,
    LockChange,
    RelayReport,
    StandingLock,
    SupplyChange,
)
from adapters.store.models.registry import Device, Site, Supply, Tenant
from adapters.store.models.tariffs import Ruleset, RulesetVersion, Tariff, TariffVersion

__all__ = [
    "Account",
    "Act",
    "ActHead",
    "Alarm",
    "Audit",
    "Command",
    "CommandStep",
    "ConnectionChange",
    "Device",
    "Energy",
    "IdempotentAnswer",
    "Incident",
    "Journal",
    "Leg",
    "LockChange",
    "Notification",
    "Payment",
    "QuarantinedReading",
    "Rating",
    "RefusedEffect",
    "RegisterEpoch",
    "RelayReport",
    "RuleChange",
    "Ruleset",
    "RulesetVersion",
    "Site",
    "StandingLock",
    "Supply",
    "SupplyChange",
    "Tariff",
    "TariffVersion",
    "Tenant",
    "Token",
    "WebhookCall",
]
