"""What bulk switching says in its reports, in two languages: states of jobs and breakers, and the reasons."""

from __future__ import annotations

JOB_STATES = {
    "asked": ("待审批", "waits for a second person"),
    "running": ("执行中", "running"),
    "stopped": ("已暂停", "stopped"),
    "halted": ("失败过多，自动停止", "halted: too much went wrong"),
    "done": ("已完成", "done"),
    "cancelled": ("已取消", "cancelled"),
    "refused": ("审批未通过", "refused"),
}
STATES = {
    "waiting": ("未执行", "waiting"),
    "sent": ("执行中", "under way"),
    "verified": ("已核实", "verified"),
    "failed": ("失败", "failed"),
    "silent": ("未响应，状态未核实", "silent: not verified"),
    "skipped": ("跳过", "skipped"),
    "left": ("未执行（任务已结束）", "left: the job ended first"),
}
REASONS = {
    "guaranteed": ("保电期内", "the supply is guaranteed"),
    "safety_locked": ("已因安全原因断开", "it is off for safety already"),
    "critical": ("重要负荷", "a critical load"),
    "unreachable": ("设备离线", "the device is offline"),
    "stale": ("读数过旧，合闸会等待", "no fresh reading: a closing would wait"),
    "opened_on_site": (
        "锁定前已在现场断开或跳闸，须逐个查看",
        "a hand or its protection had opened it: to be looked at",
    ),
    "already_locked": ("已有同类锁定", "such a lock stands already"),
    "other_locks": ("另有锁定，合不上", "other locks stand: it would stay off"),
    "not_locked": ("没有此类锁定", "there is no such lock"),
    "lock_gone": ("本任务的锁定已不在", "the lock of that job stands no more"),
    "not_switchable": ("不能遥控", "it cannot be switched"),
    "unknown_device": ("设备不存在", "there is no such device"),
    "device_gone": ("设备已移除", "the device is gone"),
    "was_open": ("原已断开", "it was open already"),
    "was_closed": ("原已闭合", "it was closed already"),
    "armed": ("已允许合闸，待现场确认", "armed: somebody on site confirms"),
    "released_only": ("已解除锁定，因其他原因仍断开", "released; it stays off for other reasons"),
    "lock_released": ("锁定被他人解除", "somebody has released the lock"),
    "locked_again": ("又被锁定", "it was locked again"),
    "power_flows": ("已断开但仍有功率", "open, but power flows"),
    "rejected": ("设备拒绝", "the device refused"),
    "failed": ("设备执行失败", "the device could not do it"),
    "no_answer": ("设备无应答", "no answer"),
    "no_result": ("设备已收到，未报结果", "received, and no result"),
    "no_proof": ("设备称已执行，无证据", "executed, by its own word alone"),
    "waits": ("等待重试或新读数", "waits for another try, or a fresh reading"),
    "not_delivered": ("指令尚未送达平台孪生", "the lock has not reached the twin yet"),
    "cancelled": ("任务已取消", "the job was cancelled"),
    "refused": ("审批未通过", "nobody agreed"),
    "too_many_failures": ("失败数量超过上限", "more failures than allowed"),
    "too_large_a_share": ("失败比例超过上限", "a larger share of failures than allowed"),
}
OPERATIONS = {"open": ("断开", "open"), "close": ("恢复", "close"), "undo": ("撤销", "undo")}


def worded(words: dict[str, tuple[str, str]], code: str, language: str = "both") -> str:
    """A code in one language (`zh`, `en`), or in both; a code without words as it is."""
    zh, en = words.get(code, (code, code))
    if language == "both":
        return zh if zh == en else f"{zh} {en}"
    return zh if language == "zh" else en
