"""Keys, stream ids and what is said when Redis is not there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from adapters.twins import swift
from adapters.twins.connection import Reaching, StoreUnavailableError, address, connect
from adapters.twins.entry_id import following, newest, order
from adapters.twins.keys import site_keys

IDS = st.builds("{}-{}".format, st.integers(0, 2**45), st.integers(0, 2**20))


def test_all_keys_of_a_site_share_its_hash_tag() -> None:
    keys = site_keys("park-1")
    names = [getattr(keys, name) for name in ("generation", "effects", "timers", "directory", "gateways", "dead")]
    names += [keys.group("t-1"), keys.gateway("gw"), keys.guard("r")]
    assert all(name.startswith("{park-1}:") for name in names)
    assert len(set(names)) == len(names)


@given(left=IDS, right=IDS)
def test_ids_are_compared_as_numbers(left: str, right: str) -> None:
    (a, b), (c, d) = (map(int, entry.split("-")) for entry in (left, right))
    assert (order(left) < order(right)) == (a < c or (a == c and b < d))
    assert newest(left, right) in (left, right)
    assert order(newest(left, right)) == max((a, b), (c, d))
    assert order(left) < order(following(left))


def test_newest_of_nothing() -> None:
    assert newest() == "0-0"


@pytest.mark.parametrize("bad", ["", "5", "-", "1-", "-1", "1-x", "1-2-3", "$"])
def test_bad_ids_are_named(bad: str) -> None:
    with pytest.raises(ValueError, match="expected `ms-n`"):
        order(bad)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RedisConnectionError("Connection refused"), "is it running"),
        (RedisTimeoutError("Timeout reading"), "no answer in time"),
        (AuthenticationError("invalid username-password pair"), "password"),
        (BusyLoadingError("Redis is loading the dataset in memory"), "loading"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "maxmemory"),
        (ReadOnlyError("You can't write against a read only replica."), "replica"),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), "disk"),
        (ResponseError("ERR Error running script: @user_script: 9: -OOM command not allowed"), "out of memory"),
    ],
)
def test_unavailable_says_where_and_what(error: Exception, said: str) -> None:
    client = connect("redis://user:secret@10.1.2.3:7000/4")
    with pytest.raises(StoreUnavailableError, match=said) as caught, Reaching(client):
        raise error
    assert "10.1.2.3:7000/4" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, ConnectionError)


def test_other_errors_pass() -> None:
    with pytest.raises(ResponseError, match="WRONGTYPE"), Reaching(connect("redis://localhost")):
        raise ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    with pytest.raises(KeyError), Reaching(connect("redis://localhost")):
        raise KeyError


@pytest.mark.parametrize("packer", [swift._pack, None], ids=["hiredis", "python"])
@pytest.mark.parametrize("url", ["redis://localhost", "rediss://localhost", "unix:///run/redis.sock"])
def test_commands_are_packed_as_redis_py_does(packer: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swift, "_pack", packer)
    kind = connect(url).connection_pool.connection_class
    ours, theirs = kind(), kind.__mro__[2]()
    for command in (
        ("PING",),
        ("XGROUP CREATE", "{park}:fx", "ledger", "0-0"),
        ("EVALSHA", "abc", 1, "{park}:g:商户", b"\x00\xff", "", 2**62, -5, 1.5, b"x" * 100_000),
    ):
        assert b"".join(ours.pack_command(*command)) == b"".join(theirs.pack_command(*command))


def test_address_of_a_socket() -> None:
    assert address(connect("unix:///run/redis.sock?db=2")) == "unix:/run/redis.sock"
    assert address(connect("redis://localhost")) == "localhost:6379/0"
