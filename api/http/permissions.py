"""Who may do what: one table of roles and operations. What is not in it is denied to everybody.

An operation is the `operation_id` of a route. A name with a dot is a part of an operation that needs more: releasing
a `credit` lock gives supply to somebody who has not paid, which an engineer may not decide.
"""

from __future__ import annotations

from typing import Final

OWNER: Final = "owner"
MANAGER: Final = "manager"
FINANCE: Final = "finance"
OM: Final = "om"
TENANT: Final = "tenant"
ROLES: Final = (OWNER, MANAGER, FINANCE, OM, TENANT)
PUBLIC: Final = "public"
"""Needs no token at all."""

_ALL = frozenset(ROLES)
_STAFF = frozenset({OWNER, MANAGER, FINANCE, OM})
_MONEY = frozenset({OWNER, MANAGER, FINANCE})
_SWITCHING = frozenset({OWNER, MANAGER, OM})
_HEADS = frozenset({OWNER, MANAGER})
_OWNER = frozenset({OWNER})
_ANYBODY = frozenset({PUBLIC})

PERMISSIONS: Final[dict[str, frozenset[str]]] = {
    "readSchema": _ANYBODY,
    "checkLive": _ANYBODY,
    "checkReady": _ANYBODY,
    "readMetrics": _ANYBODY,
    "takePayment": _ANYBODY,
    "listSites": _ALL,
    "getSite": _ALL,
    "listTenants": _STAFF,
    "getTenant": _ALL,
    "listLedger": _MONEY | {TENANT},
    "explainJournal": _MONEY,
    "explainLedgerLine": _MONEY | {TENANT},
    "topUpTenant": _MONEY,
    "listPayments": _MONEY | {TENANT},
    "compareStatement": _MONEY,
    "openAccount": _MONEY,
    "getAccount": _MONEY | {TENANT},
    "correctEntry": _MONEY,
    "enterByHand": _MONEY,
    "transferBalance": _MONEY,
    "writeOffArrears": _MONEY,
    "createDebt": _MONEY,
    "cancelDebt": _MONEY,
    "writeOffDebt": _MONEY,
    "returnDeposit": _MONEY,
    "requestRefund": _MONEY,
    "payRefund": _MONEY,
    "failRefund": _MONEY,
    "listRefunds": _MONEY | {TENANT},
    "guaranteeSupply": _HEADS,
    "getSupply": _ALL,
    "takeEmergencyCredit": _MONEY | {TENANT},
    "confirmWarning": _SWITCHING | {TENANT},
    "moveOutTenant": _MONEY,
    "closeAccount": _MONEY,
    "reopenAccount": _MONEY,
    "listApprovals": _STAFF,
    "approveRequest": _MONEY,
    "approveRequest.supply.guarantee": _HEADS,
    "approveRequest.switch.bulk": _HEADS,
    "rejectRequest": _MONEY,
    "cancelRequest": _STAFF,
    "readTrialBalance": _MONEY,
    "listAnchors": _MONEY,
    "takeAnchor": _MONEY,
    "exportLedger": _MONEY,
    "listDevices": _STAFF,
    "getDevice": _ALL,
    "explainBreaker": _ALL,
    "commandDevice": _SWITCHING,
    "listCommands": _STAFF | {TENANT},
    "placeLock": _SWITCHING,
    "placeLock.credit": _HEADS,
    "releaseLock": _SWITCHING,
    "releaseLock.credit": _HEADS,
    "listPlans": _STAFF,
    "previewPlan": _STAFF,
    "getDevicePlan": _STAFF,
    "setPlan": _HEADS,
    "removePlan": _HEADS,
    "assignPlan": _HEADS,
    "previewSwitching": _SWITCHING,
    "startSwitching": _SWITCHING,
    "listSwitching": _STAFF,
    "getSwitching": _STAFF,
    "listSwitchingSteps": _STAFF,
    "downloadSwitching": _STAFF,
    "stopSwitching": _SWITCHING,
    "resumeSwitching": _SWITCHING,
    "cancelSwitching": _SWITCHING,
    "undoSwitching": _SWITCHING,
    "enterReading": _HEADS | {FINANCE, OM},
    "declareRollover": _SWITCHING,
    "replaceMeter": _SWITCHING,
    "declareReset": _SWITCHING,
    "changeRatio": _SWITCHING,
    "listMeterEvents": _STAFF,
    "listDoubtfulReadings": _STAFF,
    "decideReading": _HEADS,
    "handOverMeters": _HEADS,
    "listHandovers": _STAFF,
    "listAlarms": _STAFF,
    "getAlarm": _STAFF,
    "listAlarmNotes": _STAFF,
    "getAlarmEvidence": _STAFF,
    "ackAlarm": _SWITCHING,
    "unackAlarm": _SWITCHING,
    "commentAlarm": _STAFF,
    "assignAlarm": _SWITCHING,
    "shelveAlarm": _SWITCHING,
    "shelveAlarm.critical": _HEADS,
    "unshelveAlarm": _SWITCHING,
    "listHeldFirings": _STAFF,
    "approveFirings": _HEADS,
    "listIncidents": _STAFF,
    "closeIncident": _STAFF,
    "closeIncident.ledger_went_back": _MONEY,
    "closeIncident.ledger_refused": _MONEY,
    "listDeadLetters": _SWITCHING,
    "followEvents": _ALL,
    "listRulesets": _STAFF,
    "addRuleset": _HEADS,
    "previewRuleset": _STAFF,
    "activateRuleset": _HEADS,
    "rollBackRuleset": _HEADS,
    "deactivateRuleset": _HEADS,
    "explainRule": _STAFF,
    "explainTenant": _ALL,
    "listShadows": _STAFF,
    "startShadow": _HEADS,
    "stopShadow": _HEADS,
    "downloadWorkbook": _HEADS,
    "previewWorkbook": _HEADS,
    "importWorkbook": _HEADS,
    "reportOverview": _STAFF,
    "reportRevenue": _MONEY,
    "reportEnergy": _STAFF,
    "reportRecharge": _MONEY,
    "reportArrears": _MONEY,
    "reportRanking": _MONEY,
    "downloadReport": _MONEY,
    "downloadSiteLedger": _MONEY,
    "downloadStatement": _MONEY | {TENANT},
    "downloadBill": _MONEY | {TENANT},
    "startSettlement": _MONEY,
    "listSettlements": _MONEY,
    "getSettlement": _MONEY,
    "enterSettlementPrice": _MONEY,
    "listBills": _MONEY,
    "getBill": _MONEY,
    "listTenantBills": _MONEY | {TENANT},
    "correctBill": _MONEY,
    "makeFinalBill": _MONEY,
    "pushBills": _MONEY,
    "listBillPushes": _MONEY,
    "createToken": _OWNER,
    "listTokens": _OWNER,
    "revokeToken": _OWNER,
}


def is_public(operation: str) -> bool:
    """Whether an operation needs no token."""
    return PUBLIC in PERMISSIONS.get(operation, ())


def may(role: str, operation: str) -> bool:
    """Whether a role may carry out an operation; False for an operation that has no entry."""
    return role in PERMISSIONS.get(operation, ())


def roles_that_release(kind: str) -> tuple[str, ...]:
    """The staff who may take a lock of this kind off, in the order of rank."""
    special = f"releaseLock.{kind}"
    allowed = PERMISSIONS[special] if special in PERMISSIONS else PERMISSIONS["releaseLock"]
    return tuple(role for role in ROLES if role in allowed)
