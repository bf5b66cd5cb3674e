"""Integer shares by the largest remainder: the parts always sum to the whole."""

from collections.abc import Sequence


def allocate(total: int, weights: Sequence[int]) -> list[int]:
    """Divides `total` among `weights` in whole units that sum to `total` exactly (largest remainder, Hamilton).

    Each share is its exact proportion rounded down; what is left goes, one unit each, to the largest remainders,
    ties to the earlier. A negative total is the mirror of the positive one. Raises ValueError if a weight is
    negative, or if there is something to divide and no weight above zero.
    """
    if any(weight < 0 for weight in weights):
        raise ValueError(f"weights must be zero or more: {list(weights)}")
    weight_sum = sum(weights)
    if total == 0:
        return [0] * len(weights)
    if weight_sum == 0:
        raise ValueError(f"{total} cannot be divided: no weight is above zero")
    size = abs(total)
    shares = [size * weight // weight_sum for weight in weights]
    remainders = [size * weight % weight_sum for weight in weights]
    left = size - sum(shares)
    # sorted() is stable, so of equal remainders the earlier comes first.
    for index in sorted(range(len(weights)), key=remainders.__getitem__, reverse=True)[:left]:
        shares[index] += 1
    return [-share for share in shares] if total < 0 else shares
