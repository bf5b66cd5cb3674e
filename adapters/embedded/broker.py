"""The embedded MQTT broker: `mosquitto` on PATH, else the `iotcore` wheel (rumqttd 0.20, in Rust).

Mosquitto runs with `deploy/mosquitto/conf.d`, the settings production shares, on a listener of 127.0.0.1 that lets
anybody in. It is the one to prefer: sessions, queued messages and retained messages survive its restart.

What rumqttd does, found by trying it (iotcore 0.4.0):

- MQTT 5 and 3.1.1 need a port each: a client of the other version is dropped without an answer.
- Persistent sessions over a reconnect: yes. Unacknowledged QoS 1 messages come again in order, with the same packet ids
  and without the DUP flag. Messages for an absent session are kept.
- **Nothing survives its own restart**: sessions, queued and retained messages are gone. The register chain closes such
  a gap with the next reading; retained states come back when the devices publish them again.
- At most 100 messages are unacknowledged for a client, whatever `max_inflight_count` and the client's receive maximum
  say; a smaller receive maximum is ignored.
- The client's maximum packet size is ignored (the subscriber protects itself); a publisher that exceeds
  `max_payload_size` is disconnected.
- Messages are kept in memory, one log for each filter of `max_segment_size` x `max_segment_count` bytes (64 MiB
  here); a subscriber that is away while more arrives loses the oldest.
- A client that resumes a session with a full window gets the answer to its SUBSCRIBE only after its PUBACKs.
- Retained messages and wills (with retain) work, `retain_handling` 1 is honoured, but 0 does not send the retained
  messages again to a subscription of a resumed session, message expiry is honoured for messages that wait,
  request/response properties pass through. A live message keeps no retain flag. `$host` inside a topic is an ordinary
  level.
- A session taken over by another client with the same id is closed without a DISCONNECT (Mosquitto 2.0.11 does the
  same); a PUBACK never says that nobody subscribes.
- A keepalive of 0 and an empty client id are refused; a topic that is not UTF-8 closes the connection, a topic with NUL
  or a wildcard is accepted and delivered.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Final, Literal

import mqtt5

from adapters.embedded.ports import free_port
from adapters.embedded.processes import DEPLOY, EmbeddedServerError, Launch, Progress, RunningServer, start_server


def start_broker(
    data_dir: Path | str,
    *,
    port: int | None = None,
    kind: Literal["auto", "mosquitto", "iotcore"] = "auto",
    within_s: float = 30.0,
    progress: Progress | None = None,
) -> RunningServer:
    """Start an MQTT broker on 127.0.0.1 with its data in `data_dir`; call it from the main thread.

    `url` speaks MQTT 5; `other_urls["mqtt3.1.1"]` is where devices with the older version connect (the same place for
    Mosquitto). `port` is a wish: when it is taken, another is used and `notes` says by whom.
    Raises EmbeddedServerError with the end of the server's log when it does not start.
    """
    folder = Path(data_dir).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    launch = _mosquitto(folder) if _use_mosquitto(kind) else _iotcore(folder)
    return start_server(launch, folder, port=port, within_s=within_s, progress=progress)


def find_mosquitto() -> str | None:
    """The mosquitto broker on PATH or where Debian puts it, or None."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")


def _use_mosquitto(kind: str) -> bool:
    if kind != "iotcore" and find_mosquitto() is not None:
        return True
    if kind == "mosquitto" or importlib.util.find_spec("iotcore") is None:
        wanted = "mosquitto" if kind == "mosquitto" else "mosquitto or the iotcore wheel"
        raise EmbeddedServerError(f"no MQTT broker found: install {wanted}, or set TWINMETER_MQTT_URL")
    return False


def _mosquitto(folder: Path) -> Launch:
    program = find_mosquitto()
    shared = DEPLOY / "mosquitto" / "conf.d"
    assert program is not None
    if not shared.is_dir():
        raise EmbeddedServerError(f"{shared} is missing; run from a checkout or an image that carries deploy/")
    said = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout.splitlines()
    version = said[0].rpartition(" ")[2] if said else "of an unknown version"

    def command(port: int) -> list[str]:
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence_location {folder}/\nlog_dest stderr\n"
            # Started by root, mosquitto would become a user that cannot write into the data directory.
            + ("user root\n" if os.geteuid() == 0 else "")
            + f"include_dir {shared}\n"
        )
        return [program, "-c", str(config)]

    return Launch(
        name="broker",
        program="mosquitto",
        url=_url,
        other_urls=lambda port: {_OLDER: _url(port)},
        command=command,
        ready=partial(_ready, version),
    )


def _iotcore(folder: Path) -> Launch:
    older_port = free_port()

    def command(port: int) -> list[str]:
        config = folder / "rumqttd.toml"
        config.write_text(_RUMQTTD.format(port=port, older_port=older_port))
        # Its own log level would write a line for every packet.
        return [sys.executable, "-P", "-m", "iotcore", "--config", str(config), "--log-level", "CRITICAL"]

    return Launch(
        name="broker",
        program="iotcore",
        url=_url,
        other_urls=lambda _: {_OLDER: _url(older_port)},
        command=command,
        ready=partial(_ready, f"{importlib.metadata.version('iotcore')} (rumqttd)"),
    )


def _url(port: int) -> str:
    return f"mqtt://127.0.0.1:{port}"


def _ready(version: str, port: int) -> str | None:
    """The version, once the broker answers an MQTT 5 CONNECT with a CONNACK."""
    hello = mqtt5.ConnectPacket("twinmeter-health", clean_start=True, keep_alive=10).write()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(hello)
            answer = connection.recv(1)
            connection.sendall(mqtt5.DisconnectPacket().write())
    except OSError:
        return None
    return version if answer[:1] == b"\x20" else None


_OLDER: Final = "mqtt3.1.1"
_RUMQTTD: Final = """\
id = 0
[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 8388608
max_segment_count = 8
[v5.1]
name = "mqtt5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 10000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
[v4.1]
name = "mqtt311"
listen = "127.0.0.1:{older_port}"
next_connection_delay_ms = 1
[v4.1.connections]
connection_timeout_ms = 10000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""
