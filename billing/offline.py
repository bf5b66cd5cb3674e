"""Rating a whole register series: what `twinmeter tariff rate` prints, with the code that charges live.

Cumulative use for tiers starts at 0 with the first sample of the series: a series that begins within a month
cannot know what was used before. Samples before `from_ts` are not charged, but their use counts.
"""

from collections.abc import Iterable, Iterator

from billing.points import Point
from billing.rating import Slice, rate
from billing.tariff import Tariff

Sample = tuple[int, int] | Point
"""(instant in Unix ms, register in Wh or litres), or a point with its sub-registers."""


class SeriesError(ValueError):
    """A series that is no register: `index` is the sample (counted from 0) that breaks it."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(f"sample {index}: {message}")
        self.index = index
        self.message = message


def rate_series(
    tariff: Tariff,
    samples: Iterable[Sample],
    from_ts: int | None = None,
    to_ts: int | None = None,
    notes: list[tuple[int, str]] | None = None,
) -> Iterator[Slice]:
    """Charges a series of samples in ascending time, one slice at a time.

    With `from_ts` or `to_ts` (Unix ms) only what was used in [from_ts, to_ts) is charged. Such an end that lies
    between two samples splits their delta like any boundary: by elapsed time, flagged estimated. `notes` collects
    (instant of the sample, why its sub-registers could not be used) for a tariff that asks for them.

    Raises SeriesError naming the first sample that repeats an instant, goes back in time or shows a falling
    register; ValueError if the span is empty; and what `rate` raises.
    """
    if from_ts is not None and to_ts is not None and from_ts >= to_ts:
        raise ValueError(f"the span to charge is empty: from {from_ts} to {to_ts} (Unix ms)")
    points = (sample if isinstance(sample, Point) else Point(*sample) for sample in samples)
    return _rate_pairs(tariff, points, from_ts, to_ts, [] if notes is None else notes)


def _rate_pairs(
    tariff: Tariff, points: Iterable[Point], from_ts: int | None, to_ts: int | None, notes: list[tuple[int, str]]
) -> Iterator[Slice]:
    cuts = [edge for edge in (from_ts, to_ts) if edge is not None]
    before: Point | None = None
    month = month_use = year_use = 0
    for index, point in enumerate(points):
        if before is not None:
            _check_order(index, before, point)
            if to_ts is not None and before.ts >= to_ts:
                return
            inside = [cut for cut in cuts if before.ts < cut < point.ts]
            pair = (before.ts, point.ts, before.qty, point.qty)
            rates = (before.rates, point.rates)
            rated = rate(tariff, *pair, month, month_use, inside, year_use=year_use, rates=rates)
            month, month_use, year_use = rated.month, rated.month_use, rated.year_use
            if rated.note:
                notes.append((point.ts, rated.note))
            for slice_ in rated.slices:
                if (from_ts is None or slice_.from_ts >= from_ts) and (to_ts is None or slice_.from_ts < to_ts):
                    yield slice_
        before = point


def _check_order(index: int, before: Point, point: Point) -> None:
    if point.ts == before.ts:
        raise SeriesError(
            index, f"repeats the instant {point.ts} (Unix ms) of the sample before it; keep one of the two"
        )
    if point.ts < before.ts:
        raise SeriesError(index, f"instant {point.ts} is before {before.ts} (Unix ms); sort the samples by time")
    if point.qty < before.qty:
        raise SeriesError(
            index, f"register falls from {before.qty} to {point.qty}; a reset or rollover starts a new series"
        )
