"""What the platform's servers must be: a Redis that keeps everything, a broker that keeps sessions, a database."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from api.cli.check import Check
from api.cli.language import tell

if TYPE_CHECKING:
    from api.settings import Settings

OLDEST_REDIS = (6, 2)
SKEW_MS = 1_000
WITHIN_S = 5
RECORDER_BEHIND_S = 600


async def redis(settings: Settings) -> list[Check]:
    """Version, append-only file, eviction and clock of the twin store."""
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    client = Redis.from_url(settings.redis_url, socket_timeout=WITHIN_S, socket_connect_timeout=WITHIN_S)
    try:
        info = await client.info()
        seconds, micros = await client.time()
    except (RedisError, OSError) as error:
        remedy = tell(
            "启动 Redis，检查 TWINMETER_REDIS_URL 与密码", "start Redis; check TWINMETER_REDIS_URL and its password"
        )
        return [Check("Redis", "failed", f"{settings.shown()['redis_url']}: {error}", remedy)]
    finally:
        await client.aclose()
    version = str(info.get("valkey_version") or info["redis_version"])
    checks = [_redis_version(version), _append_only(info), _eviction(info)]
    return [*checks, _clock(seconds * 1000 + micros // 1000, "Redis")]


def _redis_version(version: str) -> Check:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers >= OLDEST_REDIS:
        return Check("Redis", "ok", version)
    return Check("Redis", "failed", version, tell("需要 Redis 6.2 或更高版本", "use Redis 6.2 or newer, or Valkey"))


def _append_only(info: dict[str, object]) -> Check:
    name = "Redis AOF"
    if not info.get("aof_enabled"):
        remedy = tell("设置 appendonly yes，否则断电会丢失孪生", "set appendonly yes, or a crash loses the twins")
        return Check(name, "warning", "appendonly no", remedy)
    if info.get("aof_last_write_status") != "ok":
        remedy = tell("检查 Redis 所在磁盘", "look at the disk of Redis")
        return Check(name, "failed", f"aof_last_write_status {info.get('aof_last_write_status')}", remedy)
    return Check(name, "ok", "appendonly yes")


def _eviction(info: dict[str, object]) -> Check:
    name, policy = "Redis maxmemory-policy", str(info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        return Check(name, "ok", policy)
    remedy = tell(
        "设置 maxmemory-policy noeviction，孪生不可被淘汰", "set maxmemory-policy noeviction; twins may not be evicted"
    )
    return Check(name, "failed", policy, remedy)


async def broker(settings: Settings) -> Check:
    """The broker speaks MQTT 5 and keeps a session between two connections."""
    from api.bootstrap import MqttError, probe_session

    name, shown = tell("MQTT 代理", "MQTT broker"), settings.shown()["mqtt_url"]
    try:
        kept = await probe_session(settings.mqtt_url, f"twinmeter-doctor-{os.getpid()}")
    except (MqttError, OSError, ValueError) as error:
        remedy = tell(
            "启动代理，检查 TWINMETER_MQTT_URL；需要 MQTT 5", "start it, check TWINMETER_MQTT_URL; it must speak MQTT 5"
        )
        return Check(name, "failed", f"{shown}: {error}", remedy)
    if not kept:
        remedy = tell("允许持久会话（Mosquitto: persistent_client_expiration）", "let it keep persistent sessions")
        return Check(name, "failed", tell(f"{shown} 不保留会话", f"{shown} forgets sessions"), remedy)
    return Check(name, "ok", f"{shown}, MQTT 5, {tell('保留会话', 'keeps sessions')}")


async def database(settings: Settings) -> list[Check]:
    """The database can be read, and its migrations are known."""
    from api.bootstrap import DatabaseURLError, migration_state

    name, shown = tell("数据库", "database"), settings.shown()["database_url"]
    try:
        state = await migration_state(settings.database_url)
    except DatabaseURLError as error:
        return [Check(name, "failed", str(error), tell("检查 TWINMETER_DATABASE_URL", "check TWINMETER_DATABASE_URL"))]
    except Exception as error:  # each driver raises its own; all mean that it cannot be read
        remedy = tell("启动数据库，检查地址、用户与密码", "start it; check address, user and password")
        return [Check(name, "failed", f"{shown}: {type(error).__name__}: {error}", remedy)]
    if not state.exists:
        return [Check(name, "ok", tell(f"{shown}（首次启动时创建）", f"{shown} (made at the first start)"))]
    found = f"{state.engine} {state.version}"
    if state.missing:
        remedy = tell("启动任何一个服务即会迁移", "any service migrates it when it starts")
        return [
            Check(name, "warning", f"{found}, {tell('未迁移', 'not migrated')}: {', '.join(state.missing)}", remedy)
        ]
    return [Check(name, "ok", f"{found}, {tell('已迁移', 'migrated')}")]


async def recorder(settings: Settings) -> Check:
    """Whether the recorder keeps up with what the twins take in."""
    from api.bootstrap import recorded_lag

    name = tell("历史记录", "recorder")
    if not settings.history_days:
        return Check(name, "ok", tell("已关闭（history_days 为 0）", "off (history_days is 0)"))
    try:
        behind_s = await recorded_lag(settings)
    except Exception as error:  # each driver raises its own; the checks of Redis and the database say more
        return Check(name, "warning", tell("无法判断", "cannot be told") + f": {type(error).__name__}")
    if behind_s is None:
        return Check(name, "ok", tell("尚无记录", "nothing to record yet"))
    if behind_s <= RECORDER_BEHIND_S:
        return Check(name, "ok", tell(f"落后 {behind_s} 秒", f"{behind_s} s behind"))
    remedy = tell(
        "启动 recorder 服务；代理最多为其保留一天的消息",
        "start the recorder; the broker keeps a day of messages for it",
    )
    return Check(name, "warning", tell(f"落后 {behind_s} 秒", f"{behind_s} s behind"), remedy)


def _clock(their_ms: int, whose: str) -> Check:
    name = tell("时钟偏差", "clock skew")
    skew = their_ms - time.time_ns() // 1_000_000
    if abs(skew) <= SKEW_MS:
        return Check(name, "ok", f"{whose} {skew:+d} ms")
    return Check(name, "warning", f"{whose} {skew:+d} ms", tell("为每台机器启用 NTP", "let every machine follow NTP"))
