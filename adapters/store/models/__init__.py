"""Tables of the store, as Tortoise models, by subject. Rows never leave `adapters.store`."""

from adapters.store.models.accounts import AccountState, Anchor, Approval, Correction, Debt, DebtRecovery, Refund
from adapters.store.models.adjustments import Adjustment, RerateMark, SupplyTariff
from adapters.store.models.alarms import AlarmCare, AlarmNote, AlarmShelf, NoticeGroup, WriteProbe
from adapters.store.models.audit import Audit, Token
from adapters.store.models.decisions import Notification, RefusedEffect, RuleChange, WebhookCall
from adapters.store.models.energy import Energy, QuarantinedReading, Rating, RegisterEpoch
from adapters.store.models.history import HistoryBlock, RulesetActivation, RuleShadow, ShadowFinding
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
    "AccountState",
    "Act",
    "ActHead",
    "Adjustment",
    "Alarm",
    "AlarmCare",
    "AlarmNote",
    "AlarmShelf",
    "Anchor",
    "Approval",
    "Audit",
    "Command",
    "CommandStep",
    "ConnectionChange",
    "Correction",
    "Debt",
    "DebtRecovery",
    "Device",
    "Energy",
    "HistoryBlock",
    "IdempotentAnswer",
    "Incident",
    "Journal",
    "Leg",
    "LockChange",
    "NoticeGroup",
    "Notification",
    "Payment",
    "QuarantinedReading",
    "Rating",
    "Refund",
    "RefusedEffect",
    "RegisterEpoch",
    "RelayReport",
    "RerateMark",
    "RuleChange",
    "RuleShadow",
    "Ruleset",
    "RulesetActivation",
    "RulesetVersion",
    "ShadowFinding",
    "Site",
    "StandingLock",
    "Supply",
    "SupplyChange",
    "SupplyTariff",
    "Tariff",
    "TariffVersion",
    "Tenant",
    "Token",
    "WebhookCall",
    "WriteProbe",
]
