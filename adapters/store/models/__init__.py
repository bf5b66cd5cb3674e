"""Tables of the store, as Tortoise models, by subject. Rows never leave `adapters.store`."""

from adapters.store.models import uncommented  # noqa: F401 -- before the first model is made

# isort: split
from adapters.store.models.accounts import (
    AccountState,
    Anchor,
    AnchorSeal,
    Approval,
    Correction,
    Debt,
    DebtRecovery,
    Refund,
)
from adapters.store.models.adjustments import Adjustment, RerateMark, SupplyTariff
from adapters.store.models.alarms import AlarmCare, AlarmEvidence, AlarmNote, AlarmShelf, NoticeGroup, WriteProbe
from adapters.store.models.audit import Audit, Token
from adapters.store.models.decisions import Notification, RefusedEffect, RuleChange, RuleParam, WebhookCall
from adapters.store.models.energy import Energy, QuarantinedReading, Rating, RegisterEpoch
from adapters.store.models.history import HistoryBlock, RulesetActivation, RuleShadow, ShadowFinding
from adapters.store.models.meter_life import Handover, LateReading, MeterEvent, ReadingDecision
from adapters.store.models.money import Account, Act, ActHead, IdempotentAnswer, Journal, Leg, Payment
from adapters.store.models.operations import (
    Alarm,
    Command,
    CommandStep,
    ConnectionChange,
    DeviceConfig,
    Incident,
    LockChange,
    RelayReport,
    StandingLock,
    SupplyChange,
)
from adapters.store.models.registry import Device, Site, Supply, Tenant
from adapters.store.models.reports import ReportCut, ReportMonth
from adapters.store.models.settlement import (
    BillLine,
    BillNumber,
    BillPush,
    BillRow,
    BillWallet,
    ChargeSum,
    FeeLine,
    SettlementPrice,
    SettlementRun,
    SettlementStep,
)
from adapters.store.models.switching import SwitchJob, SwitchStep
from adapters.store.models.tariffs import Ruleset, RulesetVersion, Tariff, TariffVersion

__all__ = [
    "Account",
    "AccountState",
    "Act",
    "ActHead",
    "Adjustment",
    "Alarm",
    "AlarmCare",
    "AlarmEvidence",
    "AlarmNote",
    "AlarmShelf",
    "Anchor",
    "AnchorSeal",
    "Approval",
    "Audit",
    "BillLine",
    "BillNumber",
    "BillPush",
    "BillRow",
    "BillWallet",
    "ChargeSum",
    "Command",
    "CommandStep",
    "ConnectionChange",
    "Correction",
    "Debt",
    "DebtRecovery",
    "Device",
    "DeviceConfig",
    "Energy",
    "FeeLine",
    "Handover",
    "HistoryBlock",
    "IdempotentAnswer",
    "Incident",
    "Journal",
    "LateReading",
    "Leg",
    "LockChange",
    "MeterEvent",
    "NoticeGroup",
    "Notification",
    "Payment",
    "QuarantinedReading",
    "Rating",
    "ReadingDecision",
    "Refund",
    "RefusedEffect",
    "RegisterEpoch",
    "RelayReport",
    "ReportCut",
    "ReportMonth",
    "RerateMark",
    "RuleChange",
    "RuleParam",
    "RuleShadow",
    "Ruleset",
    "RulesetActivation",
    "RulesetVersion",
    "SettlementPrice",
    "SettlementRun",
    "SettlementStep",
    "ShadowFinding",
    "Site",
    "StandingLock",
    "Supply",
    "SupplyChange",
    "SupplyTariff",
    "SwitchJob",
    "SwitchStep",
    "Tariff",
    "TariffVersion",
    "Tenant",
    "Token",
    "WebhookCall",
    "WriteProbe",
]
