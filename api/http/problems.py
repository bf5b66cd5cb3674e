"""Problems: every refusal the API can give, with its stable code, its status and its title in two languages.

The shape is RFC 9457 (`application/problem+json`) with the extra members `code` (stable, for programs), `errors` (which
field, what is wrong with it) and whatever else a refusal has to say. `detail` is for people and may change.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:problem-type:twinmeter:"


class Kind(msgspec.Struct, frozen=True):
    """One row of the catalogue."""

    status: int
    zh: str
    en: str


CATALOGUE: Final[dict[str, Kind]] = {
    "malformed": Kind(400, "请求无法解析", "The request cannot be read"),
    "unauthenticated": Kind(401, "需要有效的访问令牌", "A valid access token is needed"),
    "forbidden": Kind(403, "没有此操作的权限", "Not allowed for this role"),
    "not_found": Kind(404, "没有此地址", "There is nothing at this address"),
    "unknown_site": Kind(404, "园区不存在", "Unknown site"),
    "unknown_tenant": Kind(404, "租户不存在", "Unknown tenant"),
    "unknown_device": Kind(404, "设备不存在", "Unknown device"),
    "unknown_ledger_line": Kind(404, "账目不存在", "Unknown ledger line"),
    "unknown_payment": Kind(404, "缴费记录不存在", "Unknown payment"),
    "unknown_entry": Kind(404, "账目不存在", "No such entry on this wallet"),
    "unknown_refund": Kind(404, "退款不存在", "Unknown refund"),
    "unknown_debt": Kind(404, "欠款不存在", "Unknown debt"),
    "unknown_approval": Kind(404, "审批申请不存在", "Unknown request"),
    "unknown_lock": Kind(404, "没有此锁定", "No such lock stands"),
    "unknown_plan": Kind(404, "定时或限负载方案不存在", "Unknown schedule or limit"),
    "unknown_job": Kind(404, "批量任务不存在", "Unknown switching job"),
    "unknown_incident": Kind(404, "事件不存在", "Unknown incident"),
    "unknown_alarm": Kind(404, "告警不存在", "Unknown alarm"),
    "document": Kind(503, "无法生成文件", "The document cannot be made"),
    "unknown_bill": Kind(404, "账单不存在", "Unknown bill"),
    "unknown_token": Kind(404, "令牌不存在", "Unknown token"),
    "unknown_version": Kind(404, "规则版本不存在", "Unknown version of the rules"),
    "nothing_to_explain": Kind(404, "没有可解释的规则或对象", "No such rule or twin to explain"),
    "not_recorded": Kind(404, "该时刻没有历史记录", "That instant is not in the recorded history"),
    "unknown_settlement": Kind(404, "该月尚未结算", "This month has not been settled"),
    "busy": Kind(409, "结算正在进行", "A settlement is in progress"),
    "month_open": Kind(409, "该月尚未结束", "The month is not over"),
    "settle_earlier": Kind(409, "须先结算更早的月份", "An earlier month has to be settled first"),
    "settle_later": Kind(409, "其后月份已结算", "A later month is settled already"),
    "already_settled": Kind(409, "该月已结算", "The month is settled already"),
    "already_issued": Kind(409, "账单已出账", "A bill is issued already"),
    "not_issued": Kind(409, "账单尚未出账", "The bill is not issued"),
    "replaced": Kind(409, "账单已被更正", "The bill was replaced"),
    "not_last": Kind(409, "其后已有账单", "A later bill follows"),
    "nothing_to_bill": Kind(409, "没有可出账的内容", "There is nothing to bill"),
    "unknown_tariff": Kind(422, "电价或水价不存在", "Unknown tariff or utility"),
    "method_not_allowed": Kind(405, "不支持此方法", "Method not allowed"),
    "idempotency_conflict": Kind(409, "幂等键已用于另一请求", "The idempotency key was used for another request"),
    "duplicate_reference": Kind(409, "该渠道流水号已入账", "This reference of the channel is credited already"),
    "account_closed": Kind(409, "账户已销户", "The account is closed"),
    "account_open": Kind(409, "账户未销户", "The account is open"),
    "tenant_exists": Kind(409, "租户已存在", "The tenant exists already"),
    "insufficient": Kind(409, "余额不足", "The balance is not enough"),
    "refund_above_payment": Kind(409, "退款超过可退金额", "More than can be refunded of the payment"),
    "refund_not_approved": Kind(409, "退款尚未审批", "The refund waits for a second person"),
    "refund_settled": Kind(409, "退款已办结", "The refund is settled already"),
    "not_correctable": Kind(409, "该账目不能冲正", "This entry cannot be taken back"),
    "corrected": Kind(409, "该账目已全部冲正", "The entry is taken back already"),
    "correction_above_entry": Kind(409, "冲正超过原账目", "More than is left of the entry"),
    "same_wallet": Kind(409, "不能转给自己", "A wallet cannot give to itself"),
    "not_in_arrears": Kind(409, "没有这么多欠费", "The wallet is not that much in arrears"),
    "debt_settled": Kind(409, "欠款已结清", "The debt is settled already"),
    "still_supplied": Kind(409, "仍在供电供水，请先交接表计", "Meters still supply the tenant"),
    "unposted_charges": Kind(409, "仍有未过账扣费", "Charges are not posted yet"),
    "plan": Kind(422, "定时或限负载方案无效", "The schedule or limit does not fit"),
    "plan_in_use": Kind(409, "方案仍有设备在使用", "Devices still have this plan"),
    "job_state": Kind(409, "任务当前状态不允许此操作", "The job is in another state"),
    "not_undoable": Kind(409, "该任务无法撤销", "The job placed nothing that could be undone"),
    "nothing_to_switch": Kind(409, "没有可操作的设备", "There is nothing to switch"),
    "preview_outdated": Kind(409, "预览已过期，请重新预览", "The preview is outdated: look again"),
    "own_approval": Kind(409, "须由他人审批", "Another person has to decide"),
    "approval_settled": Kind(409, "审批申请已办结", "The request is settled already"),
    "hoarding": Kind(409, "超过余额上限", "The balance would rise above the limit"),
    "unknown_meter": Kind(404, "表计不存在", "Unknown meter"),
    "unknown_reading": Kind(404, "没有此待审读数", "No such reading waits for review"),
    "reading_decided": Kind(409, "该读数已审核", "The reading was decided before"),
    "reading_contradicts": Kind(409, "读数与前后读数矛盾", "The reading contradicts those around it"),
    "handing_over": Kind(409, "表计正在过户", "The meter is being handed over"),
    "handover": Kind(409, "无法过户", "The meters cannot be handed over"),
    "replacement": Kind(409, "无法换表", "The register cannot be replaced then"),
    "ratio": Kind(409, "变比未变化", "The meter has this ratio already"),
    "reading": Kind(422, "读数有误", "The reading is not possible"),
    "locked_by_another": Kind(409, "他人的检修锁仍在", "Somebody else holds this lock"),
    "locked": Kind(409, "仍有其他锁定", "Other locks stand"),
    "incident_over": Kind(409, "事件已结束", "The incident is over"),
    "not_shelved": Kind(409, "告警未被搁置", "The alarm is not shelved"),
    "not_switchable": Kind(409, "设备没有可控开关", "The device has nothing to switch"),
    "not_offered": Kind(409, "目前没有可用的应急额度", "No emergency credit is offered now"),
    "supply_guaranteed": Kind(409, "正处于保电期内", "The supply is guaranteed"),
    "water_kept": Kind(409, "欠费不停水", "Water is not cut off for arrears"),
    "opened_on_site": Kind(409, "已在现场断开，须现场合闸", "Opened on site; it must be closed there"),
    "plan_changed": Kind(409, "预览之后资料已变化", "It has changed since the preview"),
    "name_taken": Kind(409, "名称已被使用", "The name is in use"),
    "version_exists": Kind(409, "该版本号已有不同内容", "The version exists with another content"),
    "already_active": Kind(409, "该版本已启用", "The version is active already"),
    "nothing_to_roll_back": Kind(409, "没有可回退的版本", "There is no version to roll back to"),
    "rule_conflicts": Kind(409, "规则之间有冲突", "Rules get into each other's way"),
    "moved": Kind(409, "启用版本已被他人改变", "Somebody else has moved the active version"),
    "revision_mismatch": Kind(412, "设备状态已变化", "The twin has changed"),
    "too_large": Kind(413, "请求内容过大", "The request body is too large"),
    "unsupported_media_type": Kind(415, "内容类型不支持", "Unsupported media type"),
    "validation": Kind(422, "输入有误", "The input is not valid"),
    "rules_invalid": Kind(422, "规则无效", "The rules are not valid"),
    "debt_terms": Kind(422, "欠款条件有误", "The terms of the debt are not valid"),
    "tenant_entry": Kind(422, "租户资料有误", "The tenant's entry is not valid"),
    "guarantee": Kind(422, "保电期限有误", "The supply guarantee is not valid"),
    "rest": Kind(422, "余款处理方式有误", "What is left cannot be settled in this way"),
    "workbook": Kind(422, "表格内容有误", "The workbook is not valid"),
    "amount": Kind(422, "金额有误", "The amount is not valid"),
    "too_many_feeds": Kind(429, "实时连接过多", "Too many live feeds"),
    "too_many_requests": Kind(429, "请求过于频繁", "Too many requests"),
    "internal": Kind(500, "服务器内部错误", "Internal error"),
    "ledger_unavailable": Kind(503, "账务库暂不可写", "The ledger cannot be written to for the moment"),
    "unavailable": Kind(503, "服务暂不可用", "Temporarily unavailable"),
}


class Problem(Exception):  # noqa: N818 -- the word of RFC 9457
    """A refusal, raised anywhere below a route; `more` becomes members of the answer."""

    def __init__(self, code: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.more = more

    @property
    def kind(self) -> Kind:
        """Status and titles of this code."""
        return CATALOGUE[self.code]


def invalid(field: str, message: str, code: str = "validation") -> Problem:
    """A refusal that names the field at fault."""
    return Problem(code, f"{field}: {message}", errors=[{"field": field, "message": message}])


def unknown_site(site: str) -> Problem:
    """The one answer for a site that does not exist and for one the person may not know of."""
    return Problem("unknown_site", f"there is no site {site!r}")


def unknown_tenant(site: str, tenant: str) -> Problem:
    """The one answer for a tenant that does not exist and for one the person may not know of."""
    return Problem("unknown_tenant", f"site {site!r} has no tenant {tenant!r}")


def unknown_device(site: str, device: str) -> Problem:
    """The one answer for a device that does not exist and for one the person may not know of."""
    return Problem("unknown_device", f"site {site!r} has no device {device!r}")


def unknown_bill(site: str, bill: str) -> Problem:
    """The one answer for a bill that does not exist and for one the person may not know of."""
    return Problem("unknown_bill", f"site {site!r} has no bill {bill!r}")


def body_of(problem: Problem, language: str, instance: str) -> dict[str, Any]:
    """The members of the answer; `language` is `zh` or `en`, `instance` the path that was asked for."""
    kind = problem.kind
    return {
        "type": TYPE_PREFIX + problem.code,
        "code": problem.code,
        "title": kind.zh if language == "zh" else kind.en,
        "status": kind.status,
        "detail": problem.detail,
        "instance": instance,
        **problem.more,
    }
