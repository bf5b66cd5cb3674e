"""Rating a whole register series: what `twinmeter tariff rate` prints, with the code that charges live.

Cumulative use for tiers starts at 0 with the first sample of the series: a series that begins within a month
cannot know what was used before. Samples before `from_ts` are not charged, but their use counts.
"""

from collections.abc import Iterable, Iterator

from billing.rating import Slice, rate
from billing.tariff import Tariff

Sample = tuple[int, int]
"""(instant in Unix ms, register in Wh or litres)."""


class SeriesError(ValueError):
    """A series that is no register: `index` is the sample (counted from 0) that breaks it."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(f"sample {index}: {message}")
        self.index = index
        self.message = message


def rate_series(
    tariff: Tariff, samples: Iterable[Sample], from_ts: int | None = None, to_ts: int | None = None
) -> Iterator[Slice]:
    """Charges a series of samples in ascending time, one slice at a time.

    With `from_ts` or `to_ts` (Unix ms) only what was used in [from_ts, to_ts) is charged. Such an end that lies
    between two samples splits their delta like any boundary: by elapsed time, flagged estimated.

    Raises SeriesError naming the first sample that repeats an instant, goes back in time or shows a falling
    register; ValueError if the span is empty; and what `rate` raises.
    """
    if from_ts is not None and to_ts is not None and from_ts >= to_ts:
        raise ValueError(f"the span to charge is empty: from {from_ts} to {to_ts} (Unix ms)")
    cuts = [edge for edge in (from_ts, to_ts) if edge is not None]
    return _rate_pairs(tariff, samples, cuts, from_ts, to_ts)


def _rate_pairs(
    tariff: Tariff, samples: Iterable[Sample], cuts: list[int], from_ts: int | None, to_ts: int | None
) -> Iterator[Slice]:
    before: Sample | None = None
    month = month_use = 0
    for index, sample in enumerate(samples):
        if before is not None:
            _check_order(index, before, sample)
            if to_ts is not None and before[0] >= to_ts:
                return
            inside = [cut for cut in cuts if before[0] < cut < sample[0]]
            rated = rate(tariff, before[0], sample[0], before[1], sample[1], month, month_use, inside)
            month, month_use = rated.month, rated.month_use
            for slice_ in rated.slices:
                if (from_ts is None or slice_.from_ts >= from_ts) and (to_ts is None or slice_.from_ts < to_ts):
                    yield slice_
        before = sample


def _check_order(index: int, before: Sample, sample: Sample) -> None:
    (earlier, lower), (later, higher) = before, sample
    if later == earlier:
        raise SeriesError(index, f"repeats the instant {later} (Unix ms) of the sample before it; keep one of the two")
    if later < earlier:
        raise SeriesError(index, f"instant {later} is before {earlier} (Unix ms); sort the samples by time")
    if higher < lower:
        raise SeriesError(index, f"register falls from {lower} to {higher}; a reset or rollover starts a new series")
