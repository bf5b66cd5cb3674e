# ruff: noqa: E501 -- the prose of the pages is wrapped as Markdown, not as code
"""Makes every page of the documentation that follows from code: `python -m docs.generate`, or `make docs`.

`--check` changes nothing and exits 1 when a page is stale; a test does the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from api.settings import ENVIRONMENT, SECRETS, Settings
from docs import http_page, metrics_page, scaling_page, schema_pages
from docs.dashboard import dashboard
from docs.disconnect_page import disconnect_page
from rules.language.kinds import Type
from rules.language.values import PathSpec
from twin.core.view import TWIN_MODEL

FOLDER = Path(__file__).parent
NOTE = "<!-- Made by `make docs`; change the code it is made from, not this page. -->"
SETTINGS = {
    "mqtt_url": "Broker, `mqtt://[user:password@]host[:port]` or `mqtts://...?ca=FILE&cert=FILE&key=FILE`. Empty: an embedded one.",
    "redis_url": "Redis 6.2 to 8, or Valkey: `redis://[user:password@]host:port/0`. Empty: an embedded one.",
    "database_url": "`postgresql://user:password@host:port/name` or `sqlite:///path`. Empty: SQLite in the data folder.",
    "metrics": "Where a single service (`twinmeter ingest` and its neighbours) tells its own counters, HOST:PORT; empty: nowhere. Nobody is asked for a token: keep it on this machine or in a private network.",
    "database_timeout_s": "So many seconds one statement of a service may take on PostgreSQL (1 to 86400); then the server counts as hung, the connection is dropped, and the work is tried again. Backups and partitions have no limit.",
    "http": "Where the HTTP API listens, HOST:PORT. A port that is taken is replaced by a free one, and the log says so.",
    "data": "Folder of embedded servers, SQLite and the anchor of a scaled clock.",
    "clock": "What *now* means: `real`, `telemetry`, or `scaled:START,RATE` such as `scaled:2026-01-12T09:00:00+08:00,60`.",
    "host": "Name of this process at the broker (client id, `$host/NAME/status`) and in consumer groups: one for each process, "
    "the same after a restart.",
    "log_level": "`debug`, `info`, `warning` or `error`.",
    "log_format": "`text` (logfmt) or `json`: one JSON object a line.",
    "log_journeys": "`true`: a line for each step of each message, so that one id is found from receipt to journal and command ([tracing](operations/tracing.md)).",
    "otlp_url": "Receiver of OpenTelemetry traces (OTLP over HTTP) such as `http://127.0.0.1:4318`; needs `pip install 'twinmeter[otel]'`. Empty: no traces, at no cost.",
    "otlp_one_of": "Trace one message of so many; the same ones in every process.",
    "admin_token": "The first administrator's bearer token, 16 characters or more.",
    "embedded_broker": "`mosquitto` or `iotcore`; empty: the first that is there.",
    "embedded_redis": "Path of a `redis-server` or `valkey-server`; empty: the first that is there.",
    "payments": "`[payments.NAME]` in the file: channels that tell of payments ([payments](payments.md)): `site`, `merchant`, "
    "`secret_file` (or `TWINMETER_PAYMENT_NAME_SECRET`), `window_s`, `answer` (`json` or `text`).",
    "webhooks": "`[webhooks.NAME]` in the file: outside systems that rules may call by NAME: `url`, `secret_file` (or "
    "`TWINMETER_WEBHOOK_NAME_SECRET`) to sign the calls, `timeout_s`, `sites` (empty: all). Calls go nowhere else.",
    "history_days": "Days for which messages of devices are kept, for `rules replay` and explanations of the past; 0 records nothing.",
    "ingest_shard": "Number of the ingest shard; `twinmeter ingest --shard N`.",
    "ingest_shards": "Shards of ingest, divided by leases among all processes (1 to 1000), and with them the work of the "
    "other services; the same in every process. 0: one process takes everything, without leases.",
    "shard_spread": "A site with more devices than this is divided over all shards by tenant; the same in every process.",
    "lease_s": "So many seconds work stays with a process that no longer answers, 0.5 to 300.",
}


def pages() -> dict[str, str]:
    """Path below docs/ -> text of every generated page."""
    made = {
        "disconnect.md": disconnect_page(),
        "twin-model.md": _twin_model(),
        "settings.md": _settings(),
        "scaling.md": scaling_page.page(),
        "http.md": http_page.page(),
    }
    made |= {f"contract/{name}": text for name, text in schema_pages.pages().items()}
    made["operations/metrics.md"] = metrics_page.page()
    noted = {name: f"{NOTE}\n{text}" for name, text in made.items()}
    return noted | {"../deploy/grafana/twinmeter.json": dashboard()}


def stale() -> list[str]:
    """Names of pages that are not what the code says, and of pages in generated folders that nothing makes any more."""
    made = pages()
    wrong = [name for name, text in made.items() if not (FOLDER / name).exists() or (FOLDER / name).read_text() != text]
    there = {str(path.relative_to(FOLDER)) for path in (FOLDER / "contract").glob("*.md")}
    return sorted({*wrong, *(there - made.keys())})


def _twin_model() -> str:
    lines = [
        "# What a rule may read",
        "",
        "Every path of the twin model (`twin/core/view.py`). A path without a value, or with one that is too old to act on, is",
        "*unknown*: it neither starts, satisfies nor resets a `for`. Live channels are stale after three reporting intervals of",
        "their meter. A rule that can lock a breaker for arrears sees the balance only while a meter of the tenant reports.",
        "",
        "| path | type | unit | scopes | goes stale |",
        "|---|---|---|---|---|",
    ]
    for path, spec in TWIN_MODEL.items():
        lines.append(_path_row(path, spec))
    return "\n".join([*lines, "", "Parameters of the ruleset are read as `p.NAME`, the present instant as `now`.", ""])


def _path_row(path: str, spec: PathSpec) -> str:
    unit = spec.unit or ""
    scopes = ", ".join(sorted(spec.scopes)) if spec.scopes else "all"
    return f"| `{path}` | {_type_name(spec.type)} | {unit} | {scopes} | {'yes' if spec.stale_at is not None else ''} |"


def _type_name(kind: Type) -> str:
    """The type without its unit, which has a column of its own."""
    return f"list of {kind.item.kind}" if kind.item is not None else kind.kind


def _settings() -> str:
    lines = [
        "# Settings",
        "",
        "Flags first, then the environment, then a TOML file (`--config FILE` or `TWINMETER_CONFIG`), then the default. Every",
        "variable may also be given as `..._FILE`, the path of a file that holds the value. Secrets stand only in the environment",
        "or in such files, never in the TOML file, and are never printed.",
        "",
        "| in TOML | environment | default | meaning |",
        "|---|---|---|---|",
    ]
    for field in msgspec.structs.fields(Settings):
        variable = f"`{ENVIRONMENT[field.name]}`" if field.name in ENVIRONMENT else ""
        name = "*(secret)*" if field.name in SECRETS else f"`{field.name}`"
        default = f"`{field.default}`" if field.default not in ("", msgspec.NODEFAULT) else ""
        lines.append(f"| {name} | {variable} | {default} | {SETTINGS[field.name]} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Write the pages, or with `--check` only look."""
    if sys.argv[1:] == ["--check"]:
        for name in stale():
            sys.stdout.write(f"docs/{name} is stale: make docs\n")
        return 1 if stale() else 0
    made = pages()
    for name in stale():
        path = FOLDER / name
        if name in made:
            path.parent.mkdir(exist_ok=True)
            path.write_text(made[name], encoding="utf-8")
            sys.stdout.write(f"docs/{name}\n")
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
