"""The note that a running installation leaves, and the language and errors of the command line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from api.cli import language
from api.cli.errors import CommandError, WrongUsageError, report
from api.cli.running import FILE, Running, find_running, forget_running, note_running, with_running
from api.settings import Settings
from schemas.documents import DocumentError
from schemas.registry import Problem


@pytest.fixture
def redis_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def running(port, pid=None):
    return Running(pid or os.getpid(), f"redis://127.0.0.1:{port}/0", "mqtt://127.0.0.1:2", "sqlite:///x", "telemetry")


def test_a_living_installation_is_found_and_its_servers_are_used(tmp_path, redis_port):
    note_running(tmp_path, running(redis_port))
    found = find_running(tmp_path)
    assert found == running(redis_port)
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    used = with_running(Settings(data=str(tmp_path), mqtt_url="mqtt://mine:1883"), found)
    assert (used.redis_url, used.mqtt_url, used.clock) == (found.redis_url, "mqtt://mine:1883", "telemetry")
    assert with_running(Settings(clock="scaled:2026-01-01T00:00:00+08:00,60"), found).clock.startswith("scaled")
    forget_running(tmp_path)
    assert find_running(tmp_path) is None


def test_a_note_of_a_dead_process_or_dead_servers_is_not_believed(tmp_path, redis_port):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    note_running(tmp_path, running(redis_port, gone.pid))
    assert find_running(tmp_path) is None
    forget_running(tmp_path)
    assert (tmp_path / FILE).exists(), "only its writer may take a note away"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        note_running(tmp_path, running(closed.getsockname()[1]))
        assert find_running(tmp_path) is None
    (tmp_path / FILE).write_text("{", encoding="utf-8")
    assert find_running(tmp_path) is None


@pytest.mark.parametrize(
    ("lang", "spoken"), [("zh_CN.UTF-8", "zh"), ("en_US.UTF-8", "en"), ("C", "en"), ("de_DE", "en"), ("", "en")]
)
def test_the_language_follows_the_environment(monkeypatch, lang, spoken):
    monkeypatch.setattr(language, "_chosen", None)
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LANG", lang)
    assert language.language() == spoken
    language.choose("zh")
    assert language.tell("是", "yes") == "是"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (CommandError("no such park"), 1, "error: no such park\n"),
        (WrongUsageError("no URL"), 2, "error: no URL\n"),
        (ExceptionGroup("tasks", [CommandError("inner")]), 1, "error: inner\n"),
        (DocumentError("a.yaml", [Problem(3, 5, "site", "is missing")]), 1, "error: a.yaml:3:5: site: is missing\n"),
        (KeyError("x"), 1, "error: KeyError: 'x' (TWINMETER_DEBUG=1 shows where it happened)\n"),
    ],
)
def test_errors_are_one_sentence_with_an_exit_code(capsys, error, code, said):
    assert report(error) == code
    assert capsys.readouterr().err == said
