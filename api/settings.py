"""Settings: flags, then environment, then a TOML file, then defaults. Secrets come from the environment or from
files only."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from twin.payments import PaymentChannel
from twin.ports import WebhookTarget

ENVIRONMENT = {
    "mqtt_url": "TWINMETER_MQTT_URL",
    "redis_url": "TWINMETER_REDIS_URL",
    "database_url": "TWINMETER_DATABASE_URL",
    "database_timeout_s": "TWINMETER_DATABASE_TIMEOUT_S",
    "http": "TWINMETER_HTTP",
    "metrics": "TWINMETER_METRICS",
    "data": "TWINMETER_DATA",
    "clock": "TWINMETER_CLOCK",
    "host": "TWINMETER_HOST",
    "log_level": "TWINMETER_LOG",
    "log_format": "TWINMETER_LOG_FORMAT",
    "log_journeys": "TWINMETER_LOG_JOURNEYS",
    "otlp_url": "TWINMETER_OTLP_URL",
    "otlp_one_of": "TWINMETER_OTLP_ONE_OF",
    "admin_token": "TWINMETER_ADMIN_TOKEN",
    "embedded_broker": "TWINMETER_EMBEDDED_BROKER",
    "embedded_redis": "TWINMETER_EMBEDDED_REDIS",
    "history_days": "TWINMETER_HISTORY_DAYS",
    "ingest_shards": "TWINMETER_INGEST_SHARDS",
    "shard_spread": "TWINMETER_SHARD_SPREAD",
    "lease_s": "TWINMETER_LEASE_S",
}
SECRETS = ("admin_token",)
SHORTEST_PAYMENT_SECRET = 32


class SettingsError(ValueError):
    """A setting is unknown or cannot be read; the text says which, where it came from, and what would be right."""


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[webhooks.NAME]` of the settings file. The secret comes from the environment
    (`TWINMETER_WEBHOOK_NAME_SECRET`, the name in capitals, `-` as `_`) or from `secret_file`."""

    url: str
    secret_file: str = ""
    timeout_s: float = 10.0
    sites: tuple[str, ...] = ()

    def target(self, name: str) -> WebhookTarget:
        """With its secret. Raises SettingsError."""
        variable = f"TWINMETER_WEBHOOK_{name.upper().replace('-', '_')}_SECRET"
        if not self.url.startswith(("https://", "http://")):
            raise SettingsError(f"webhooks.{name}: {self.url!r} is no http(s) address")
        secret = os.environ.get(variable, "")
        if not secret and self.secret_file:
            secret = _secret_file(Path(self.secret_file), f"webhooks.{name}.secret")
        return WebhookTarget(self.url, secret, self.timeout_s, self.sites)


class Payments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[payments.NAME]` of the settings file: a channel that tells us of payments. Its secrets come from the
    environment (`TWINMETER_PAYMENT_NAME_SECRET`) or from `secret_file`, one a line: while one follows another, both
    are valid."""

    site: str
    merchant: str
    secret_file: str = ""
    window_s: Annotated[int, msgspec.Meta(ge=10, le=3_600)] = 300
    answer: Literal["json", "text"] = "json"

    def channel(self, name: str) -> PaymentChannel:
        """With its secrets. Raises SettingsError: a channel without one would believe anybody."""
        if re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,39}", name) is None:
            raise SettingsError(f"payments.{name}: a name is up to 40 small letters, digits, '_', '.' or '-'")
        variable = f"TWINMETER_PAYMENT_{re.sub('[-.]', '_', name).upper()}_SECRET"
        text = os.environ.get(variable, "")
        if not text and self.secret_file:
            text = _secret_file(Path(self.secret_file), f"payments.{name}.secret")
        secrets = tuple(line.strip() for line in text.splitlines() if line.strip())
        if not secrets:
            raise SettingsError(f"payments.{name}: it has no secret; give {variable} or secret_file")
        if min(map(len, secrets)) < SHORTEST_PAYMENT_SECRET:
            raise SettingsError(f"payments.{name}: a secret is shorter than {SHORTEST_PAYMENT_SECRET} characters")
        return PaymentChannel(name, self.site, self.merchant, secrets, self.window_s, self.answer)


class Settings(msgspec.Struct, frozen=True):
    """Everything that can be set from outside. Empty URLs mean: start an embedded server and use it."""

    mqtt_url: str = ""
    redis_url: str = ""
    database_url: str = ""
    database_timeout_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 300.0
    """So long one statement of a service may take on PostgreSQL, before the server counts as hung."""
    http: str = "127.0.0.1:8080"
    metrics: str = ""
    """HOST:PORT where a single service tells its own metrics; empty: nowhere."""
    data: str = "var/twinmeter"
    clock: str = "real"
    host: str = "twinmeter"
    log_level: str = "info"
    log_format: Literal["text", "json"] = "text"
    log_journeys: bool = False
    """Log each step of each message, so that one id is found from receipt to journal."""
    otlp_url: str = ""
    """OpenTelemetry receiver (OTLP over HTTP); empty: no traces."""
    otlp_one_of: int = 1
    """Trace one message of so many."""
    admin_token: str = ""
    embedded_broker: str = ""
    """mosquitto or iotcore; empty: the first that is there."""
    embedded_redis: str = ""
    """Path of a redis-server or valkey-server; empty: the first that is there."""
    ingest_shard: int = 0
    ingest_shards: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0
    """Shards of ingest, divided by leases among all processes; 0: this process takes everything, without leases."""
    shard_spread: Annotated[int, msgspec.Meta(ge=0)] = 5_000
    """A site with more devices than this is divided over all shards."""
    lease_s: Annotated[float, msgspec.Meta(ge=0.5, le=300)] = 10.0
    """So long work stays with a process that no longer answers."""
    history_days: int = 62
    """So long recorded messages are kept for replay and explanations; 0 records nothing."""
    webhooks: dict[str, Webhook] = {}
    """Outside systems that rules may call, by the name that rules call them by."""

    payments: dict[str, Payments] = {}
    """Channels that tell us of payments, by the name under which they call."""

    def payment_channels(self) -> dict[str, PaymentChannel]:
        """Who may tell of payments, with the secrets they sign with. Raises SettingsError."""
        return {name: payments.channel(name) for name, payments in self.payments.items()}

    def webhook_targets(self) -> dict[str, WebhookTarget]:
        """Where calls may go, with the secrets that sign them. Raises SettingsError for a secret that cannot be
        read."""
        return {name: webhook.target(name) for name, webhook in self.webhooks.items()}

    @property
    def data_dir(self) -> Path:
        """Folder for embedded servers, SQLite and the clock's anchor."""
        return Path(self.data)

    @property
    def http_address(self) -> tuple[str, int]:
        """Host and port of the HTTP API. Raises SettingsError."""
        return _address("http", self.http, "127.0.0.1:8080")

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of a single service's metrics; None where they are not served. Raises SettingsError."""
        return _address("metrics", self.metrics, "127.0.0.1:9101") if self.metrics else None

    def shown(self) -> dict[str, Any]:
        """All settings for people to see: secrets and passwords inside URLs are blotted out."""
        return {
            name: "***" if name in SECRETS and value else _without_password(str(value))
            for name, value in msgspec.structs.asdict(self).items()
        }


def _address(name: str, value: str, such_as: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not port.isdigit() or int(port) > 65_535:
        raise SettingsError(f"{name} {value!r} is not HOST:PORT, such as {such_as}")
    return host or "127.0.0.1", int(port)


def load_settings(flags: dict[str, Any] | None = None, config: str | None = None) -> Settings:
    """Settings from flags (those not None), environment and a TOML file. Raises SettingsError."""
    values: dict[str, Any] = {}
    path = config or os.environ.get("TWINMETER_CONFIG")
    if path:
        values |= _from_file(Path(path))
    for name, variable in ENVIRONMENT.items():
        if os.environ.get(variable):
            values[name] = os.environ[variable]
        elif os.environ.get(f"{variable}_FILE"):
            values[name] = _secret_file(Path(os.environ[f"{variable}_FILE"]), variable)
    values |= {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(str(error)) from None


def _from_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the configuration {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {error}") from None
    known = set(Settings.__struct_fields__)
    for name in values:
        if name not in known:
            raise SettingsError(f"{path}: unknown setting {name!r}; known: {', '.join(sorted(known))}")
        if name in SECRETS:
            raise SettingsError(
                f"{path}: {name} is a secret: give it as {ENVIRONMENT[name]} or {ENVIRONMENT[name]}_FILE"
            )
    return values


def _secret_file(path: Path, variable: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{variable}_FILE: cannot read {path}: {error.strerror}") from None


def _without_password(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or "@" not in rest:
        return text
    credentials, _, place = rest.rpartition("@")
    user = credentials.partition(":")[0]
    return f"{scheme}://{user}:***@{place}"
