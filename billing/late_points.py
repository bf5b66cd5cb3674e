"""Late points: samples that came when newer ones had been charged, put among the points of their epoch.

Theory of operation. A late sample is believed where it agrees with the two points around it: the register lay between
theirs. Several late samples between the same two points may contradict each other; then the largest set that agrees is
believed (the longest rising run), so that one wrong sample does not displace many right ones. The result is the same
whatever order they came in. What is left over contradicts the register and is for a person to look at.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from billing.points import Point, in_order


def place_late(points: Sequence[Point], late: Iterable[Point]) -> tuple[list[Point], list[Point]]:
    """(all points that agree, late ones that do not), each in order. `points` are in order and agree with each other.

    A late point from before the first point, or the same as one of them, is neither: it says nothing new.
    """
    keys = [(point.ts, point.qty) for point in points]
    between: dict[int, list[Point]] = {}
    contradicting: list[Point] = []
    for point in in_order(late):
        at = bisect_right(keys, (point.ts, point.qty))
        if at and (keys[at - 1] == (point.ts, point.qty) or keys[0][0] > point.ts):
            continue
        if at == 0:
            if keys and point.ts >= keys[0][0]:
                contradicting.append(point)
            continue
        if point.qty < keys[at - 1][1] or (at < len(keys) and point.qty > keys[at][1]):
            contradicting.append(point)
        else:
            between.setdefault(at, []).append(point)
    placed: list[Point] = list(points)
    for candidates in between.values():
        believed = _longest_rise(candidates)
        placed += believed
        kept = {(point.ts, point.qty) for point in believed}
        contradicting += [point for point in candidates if (point.ts, point.qty) not in kept]
    return in_order(placed), in_order(contradicting)


def _longest_rise(points: Sequence[Point]) -> list[Point]:
    """The longest run, in order of time, in which the register does not fall; of several the one with lower values."""
    tails: list[int] = []
    tail_at: list[int] = []
    before: list[int] = []
    for index, point in enumerate(points):
        length = bisect_right(tails, point.qty)
        before.append(tail_at[length - 1] if length else -1)
        if length == len(tails):
            tails.append(point.qty)
            tail_at.append(index)
        else:
            tails[length] = point.qty
            tail_at[length] = index
    run: list[Point] = []
    at = tail_at[-1] if tail_at else -1
    while at >= 0:
        run.append(points[at])
        at = before[at]
    return run[::-1]
