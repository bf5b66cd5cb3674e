"""Topics parse back to what they were built from, and nothing outside the contract parses."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import topics

IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@given(IDS, IDS, st.sampled_from(topics.VERBS))
def test_a_built_topic_parses_back(site: str, device: str, verb: str) -> None:
    assert topics.parse_topic(topics.device_topic(site, device, verb)) == (site, device, verb)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "twinmeter/v1/park-1/em-001",
        "twinmeter/v1/park-1/em-001/tele/",
        "twinmeter/v1/park-1/em-001/tele\n",
        "twinmeter/v1/park-1/em-001/telemetry",
        "twinmeter/v2/park-1/em-001/tele",
        "/twinmeter/v1/park-1/em-001/tele",
        "twinmeter/v1//em-001/tele",
        "twinmeter/v1/park-1/+/tele",
        "twinmeter/v1/park-1/em 1/tele",
        "twinmeter/v1/park-1/表/tele",
        f"twinmeter/v1/park-1/{'x' * 65}/tele",
        "twinmeter/v1/$host/h1/status",
        "$SYS/broker/uptime",
    ],
)
def test_other_topics_do_not_parse(topic: str) -> None:
    assert topics.parse_topic(topic) is None


@given(st.text(max_size=80))
def test_parsing_never_raises(topic: str) -> None:
    assert topics.parse_topic(topic) is None or topics.device_topic(*topics.parse_topic(topic)) == topic


def test_host_status_topics_parse_back_and_no_device_topic_is_one() -> None:
    assert topics.host_status_topic("h-1") == "twinmeter/v1/$host/h-1/status"
    assert topics.parse_host_status_topic(topics.host_status_topic("h-1")) == "h-1"
    assert topics.parse_host_status_topic("twinmeter/v1/park-1/em-001/state") is None


def test_filters_name_wildcards_or_ids() -> None:
    assert topics.topic_filter("tele") == "twinmeter/v1/+/+/tele"
    assert topics.topic_filter("cmd", site="park-1", device="em-001") == "twinmeter/v1/park-1/em-001/cmd"
    assert topics.host_status_filter() == "twinmeter/v1/$host/+/status"


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: topics.device_topic("a/b", "d", "tele"), "site 'a/b'"),
        (lambda: topics.device_topic("s", "#", "tele"), "device '#'"),
        (lambda: topics.device_topic("s", "d", "toggle"), "'toggle'"),
        (lambda: topics.topic_filter("toggle"), "'toggle'"),
        (lambda: topics.topic_filter("tele", site="a+"), "site 'a+'"),
        (lambda: topics.host_status_topic(""), "host ''"),
    ],
)
def test_what_cannot_stand_in_a_topic_is_refused_by_name(build, named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)):
        build()


def test_no_command_is_retained() -> None:
    assert "cmd" not in topics.RETAINED_VERBS
