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
    "unknown_lock": Kind(404, "没有此锁定", "No such lock stands"),
    "unknown_alarm": Kind(404, "告警不存在", "Unknown alarm"),
    "document": Kind(503, "无法生成文件", "The document cannot be made"),
    "unknown_bill": Kind(404, "账单不存在", "Unknown bill"),
    "unknown_token": Kind(404, "令牌不存在", "Unknown token"),
    "unknown_version": Kind(404, "规则版本不存在", "Unknown version of the rules"),
    "nothing_to_explain": Kind(404, "没有可解释的规则或对象", "No such rule or twin to explain"),
    "not_recorded": Kind(404, "该时刻没有历史记录", "That instant is not in the recorded history"),
    "method_not_allowed": Kind(405, "不支持此方法", "Method not allowed"),
    "idempotency_conflict": Kind(409, "幂等键已用于另一请求", "The idempotency key was used for another request"),
    "duplicate_reference": Kind(409, "该渠道流水号已入账", "This reference of the channel is credited already"),
    "hoarding": Kind(409, "超过余额上限", "The balance would rise above the limit"),
    "locked": Kind(409, "仍有其他锁定", "Other locks stand"),
    "not_shelved": Kind(409, "告警未被搁置", "The alarm is not shelved"),
    "not_switchable": Kind(409, "设备没有可控开关", "The device has nothing to switch"),
    "opened_on_site": Kind(409, "已在现场断开，须现场合闸", "Opened on site; it must be closed there"),
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
