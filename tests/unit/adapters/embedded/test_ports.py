import os
import socket

from adapters.embedded.ports import free_port, is_free, who_listens


def test_a_free_port_can_be_bound_and_is_then_taken_by_us():
    port = free_port()
    assert is_free(port)
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
        assert not is_free(port)
        who = who_listens(port)
    assert who.startswith(f"pid {os.getpid()} (")
    assert "pytest" in who or "python" in who
    assert is_free(port)


def test_a_port_nobody_holds_has_no_holder():
    assert who_listens(free_port()) == "a process that cannot be seen from here"
