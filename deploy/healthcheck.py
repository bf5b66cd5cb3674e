"""Is one service of the platform at work? Used as the health check of its container: exit 0 or 1, with one sentence.

    python deploy/healthcheck.py ingest|ledger|commands|recorder|scheduler|api

Only what can be seen from outside the process is asked, so a process that hangs is found as well as one that fails:

- `api`: its `/health/ready` answers;
- `ledger`, `commands`: their consumer asked the effect stream of every site for entries within the last half minute;
- `scheduler`: no timer of any site is overdue by more than two minutes (under a clock that is not scaled);
- `ingest`, `recorder`: this container holds a connection to the broker.

Settings come from the environment that the service has (`TWINMETER_REDIS_URL`, `TWINMETER_MQTT_URL`, each also as
`..._FILE`, `TWINMETER_HTTP`, `TWINMETER_CLOCK`). Key names are those of `adapters/twins/keys.py`.
"""

from __future__ import annotations

import os
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import RedisError, ResponseError

SITES = "sites"
IDLE_MS = 30_000
OVERDUE_MS = 120_000
ESTABLISHED = "01"
MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}


class UnhealthyError(Exception):
    """The service does not do its work; the text says what was seen."""


def setting(name: str) -> str:
    """A setting from the environment, or from the file that the environment names."""
    file = os.environ.get(f"{name}_FILE")
    return os.environ.get(name) or (Path(file).read_text(encoding="utf-8").strip() if file else "")


def check_api() -> str:
    """The API answers, and finds everything it needs."""
    port = setting("TWINMETER_HTTP").rpartition(":")[2] or "8080"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
        return f"ready ({answer.status})"


def check_consumer(redis: Redis, group: str) -> str:
    """Somebody of this consumer group asks for entries at every site that has twins."""
    sites = sites_with_twins(redis)
    for site in sites:
        try:
            consumers = redis.xinfo_consumers(f"{{{site}}}:fx", group)
        except ResponseError as error:
            raise UnhealthyError(f"{group} has not joined the stream of {site}: {error}") from None
        quietest = min((int(consumer["idle"]) for consumer in consumers), default=None)
        if quietest is None or quietest > IDLE_MS:
            raise UnhealthyError(f"{group} last asked for entries of {site} {quietest} ms ago")
    return f"at work on {len(sites)} sites"


def check_scheduler(redis: Redis, now_ms: int) -> str:
    """No timer waits long after its time."""
    if setting("TWINMETER_CLOCK").partition(":")[0] not in ("", "real"):
        redis.ping()
        return "timers of another clock cannot be judged from here"
    for site in sites_with_twins(redis):
        first = redis.zrange(f"{{{site}}}:timers", 0, 0, withscores=True)
        if first and now_ms - first[0][1] > OVERDUE_MS:
            raise UnhealthyError(f"a timer of {site} is overdue by {int(now_ms - first[0][1]) // 1000} s")
    return "timers are on time"


def check_ingest(connections: str) -> str:
    """A connection to the broker stands; `connections` is the table of /proc/net/tcp."""
    url = urlsplit(setting("TWINMETER_MQTT_URL"))
    port = url.port or MQTT_PORTS.get(url.scheme, 1883)
    for line in connections.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == ESTABLISHED and int(fields[2].rpartition(":")[2], 16) == port:
            return f"connected to the broker's port {port}"
    raise UnhealthyError(f"no connection to the broker's port {port}")


def sites_with_twins(redis: Redis) -> list[str]:
    """Sites whose twins stand; one that is being rebuilt has no generation yet."""
    names = sorted(name.decode() for name in redis.smembers(SITES))
    return [name for name in names if redis.hexists(f"{{{name}}}:gen", "gen")]


def check(service: str) -> str:
    """What was seen of a healthy service. Raises UnhealthyError, RedisError, OSError or LookupError."""
    if service == "api":
        return check_api()
    if service in ("ingest", "recorder"):
        tables = (Path("/proc/net") / name for name in ("tcp", "tcp6"))
        return check_ingest("\n".join(table.read_text() for table in tables if table.exists()))
    with Redis.from_url(setting("TWINMETER_REDIS_URL"), socket_timeout=5) as redis:
        if service == "scheduler":
            return check_scheduler(redis, time.time_ns() // 1_000_000)
        if service in ("ledger", "commands"):
            return check_consumer(redis, service)
    raise LookupError(f"no service {service!r}: ingest, ledger, commands, recorder, scheduler or api")


def main() -> int:
    """0 healthy, 1 not; the sentence goes to stdout, where `docker inspect` shows it."""
    try:
        seen = check(sys.argv[1] if len(sys.argv) == 2 else "")
    except (UnhealthyError, RedisError, OSError, LookupError, ValueError) as error:
        print(f"unhealthy: {error}")  # noqa: T201
        return 1
    print(f"healthy: {seen}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
