"""Which session hears what: everything once, a group in one place, the same in every process."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.topics import VERBS_UP, parse_topic
from twin.flows.spread_shards import EVERYTHING, Layout, SiteDevices, filters_of, shard_of


def matches(pattern: str, topic: str) -> bool:
    """Whether a plain filter (`+` only) lets a topic through."""
    words, levels = pattern.split("/"), topic.split("/")
    return len(words) == len(levels) and all(a in ("+", b) for a, b in zip(words, levels, strict=True))


@settings(deadline=None)
@given(shards=st.integers(1, 16), spread=st.integers(0, 12), sizes=st.lists(st.integers(0, 20), min_size=1, max_size=5))
def test_every_message_of_a_known_device_is_heard_by_one_shard(shards: int, spread: int, sizes: list[int]) -> None:
    layout = Layout(shards, spread)
    sites = [SiteDevices(f"s-{n}", {f"em-{i}": f"t-{i // 3}" for i in range(size)}) for n, size in enumerate(sizes)]
    filters = [filters_of(layout, shard, sites) for shard in range(shards)]
    homes: dict[tuple[str, str], int] = {}
    for site in sites:
        for device, group in site.groups.items():
            for verb in VERBS_UP:
                topic = f"twinmeter/v1/{site.site}/{device}/{verb}"
                heard = [shard for shard in range(shards) if any(matches(p, topic) for p in filters[shard])]
                assert len(heard) == 1, topic
                assert homes.setdefault((site.site, group), heard[0]) == heard[0], "a group is never divided"


def test_shards_do_not_depend_on_the_process() -> None:
    assert [shard_of(Layout(16, 0), "park-1", f"t-{n:03d}") for n in range(6)] == [14, 8, 2, 4, 7, 1]
    assert filters_of(Layout(1, 0), 0, []) == EVERYTHING
    assert all(parse_topic(pattern.replace("+", "x", 2)) for pattern in EVERYTHING)
