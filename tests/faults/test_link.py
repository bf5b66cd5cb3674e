"""The proxy itself: what it promises to break is broken, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.link import TO_CLIENT, TO_SERVER, Link
from tests.integration.servers import wait_until

QUICK_S = 0.3
WITHIN_S = 60.0
"""What comes at all comes at once; a machine that does other things may take its time."""


class Echo:
    """A server that answers every chunk with itself, and remembers what it got."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.got = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: socket.socket) -> None:
        with wire:
            try:
                while chunk := wire.recv(65_536):
                    self.got += chunk
                    wire.sendall(chunk)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.close()


@pytest.fixture
def link(echo: Echo) -> Iterator[Link]:
    with Link.to(f"redis://:secret@127.0.0.1:{echo.port}/0", seed=7) as found:
        yield found


def connect(link: Link) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.listens), timeout=WITHIN_S)


def ask(wire: socket.socket, text: bytes, within_s: float = WITHIN_S) -> bytes:
    wire.settimeout(within_s)
    wire.sendall(text)
    return answer(wire, len(text), within_s)


def answer(wire: socket.socket, size: int, within_s: float = WITHIN_S) -> bytes:
    wire.settimeout(within_s)
    got = b""
    while len(got) < size:
        chunk = wire.recv(size - len(got))
        if not chunk:
            return got
        got += chunk
    return got


def refused(link: Link) -> bool:
    try:
        with connect(link) as wire:
            return not ask(wire, b"b")
    except ConnectionError:
        return True


def silent(wire: socket.socket) -> bool:
    wire.settimeout(QUICK_S)
    try:
        wire.recv(1)
    except TimeoutError:
        return True
    finally:
        wire.settimeout(WITHIN_S)
    return False


def test_a_sound_link_passes_everything_and_keeps_the_url(link: Link, echo: Echo) -> None:
    assert link.url == f"redis://:secret@127.0.0.1:{link.listens}/0"
    with connect(link) as wire:
        big = bytes(range(256)) * 1_000
        threading.Thread(target=wire.sendall, args=(big,)).start()
        assert answer(wire, len(big)) == big
        wire.shutdown(socket.SHUT_WR)
        assert wire.recv(1) == b"", "a farewell is passed on, too"
    assert link.passed[TO_SERVER] == link.passed[TO_CLIENT] == len(big)


def test_delay_and_throttle_cost_time_and_keep_the_order(link: Link) -> None:
    with connect(link) as wire:
        link.slow(0.1, jitter_s=0.1)
        began = time.monotonic()
        for number in range(3):
            wire.sendall(b"%d" % number)
        assert answer(wire, 3) == b"012"
        assert time.monotonic() - began >= 0.2, "there and back"
        link.slow(0)
        link.throttle(10_000)
        began = time.monotonic()
        assert ask(wire, b"x" * 3_000) == b"x" * 3_000
        assert time.monotonic() - began >= 0.3


def test_a_partition_holds_what_is_under_way_until_it_heals(link: Link, echo: Echo) -> None:
    with connect(link) as wire:
        assert ask(wire, b"a") == b"a"
        link.partition()
        wire.sendall(b"b")
        assert silent(wire)
        assert echo.got == b"a"
        with connect(link) as late:
            late.sendall(b"c")
            assert silent(late), "accepted by the machine in between, and no answer"
            link.heal()
            assert answer(wire, 1) == b"b"
            assert answer(late, 1) == b"c"


def test_one_way_is_cut_and_the_other_is_not(link: Link, echo: Echo) -> None:
    with connect(link) as wire:
        assert ask(wire, b"a") == b"a"
        link.partition(TO_CLIENT)
        wire.sendall(b"b")
        wait_until(lambda: echo.got == b"ab", WITHIN_S)  # the server has heard it and cannot say so
        assert silent(wire)
        link.heal()
        assert answer(wire, 1) == b"b"
        link.partition(TO_SERVER)
        wire.sendall(b"c")
        assert silent(wire)
        assert echo.got == b"ab"
        link.heal(reset=True)
        with pytest.raises(ConnectionResetError):
            wire.recv(1)
    time.sleep(0.05)
    assert echo.got == b"ab", "what was held is lost with the connection"


def test_a_half_open_server_swallows_and_never_answers(link: Link, echo: Echo) -> None:
    with connect(link) as old:
        assert ask(old, b"a") == b"a"
        link.swallow()
        with connect(link) as new:
            old.sendall(b"b")
            new.sendall(b"c")
            wait_until(lambda: link.swallowing == 2, WITHIN_S)
            assert silent(old)
            assert silent(new)
            link.heal()
            for wire in (old, new):
                wire.settimeout(WITHIN_S)
                with pytest.raises(ConnectionResetError):
                    wire.recv(1)
    assert echo.got == b"a"
    with connect(link) as again:
        assert ask(again, b"d") == b"d"


def test_resets_and_refusals(link: Link) -> None:
    with connect(link) as wire:
        assert ask(wire, b"a") == b"a"
        link.reset()
        with pytest.raises(ConnectionResetError):
            wire.recv(1)
    link.refuse()
    assert refused(link)
    link.heal()
    with connect(link) as wire:
        assert ask(wire, b"c") == b"c"
    assert link.accepted >= 3


def test_a_server_that_is_not_there_ends_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with Link("127.0.0.1", port) as link, connect(link) as wire:
        wire.settimeout(WITHIN_S)
        assert wire.recv(1) == b""
    assert link.connections == 0
