"""A digest of the intervals that one charge journal covers.

The journal's memo carries it, and the journal's hash covers the memo: so energy and rating rows are under the hash
chain too, although they are not journals.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

ChargeRow = tuple[
    str, int, int, int, int | None, int | None, str, str, int, int, str | None, int | None, int, int, bool
]
"""meter, epoch, from_qty, to_qty, from_ts, to_ts, tenant, tariff, version, month, period, tier, price_micro,
amount_nano, estimated"""

_ENCODER = msgspec.json.Encoder()


def charge_memo(rows: Iterable[ChargeRow]) -> str:
    """The memo of a charge journal: how many intervals, and the SHA-256 of them in the order of the chain."""
    ordered = sorted(rows, key=lambda row: row[:3])
    digest = hashlib.sha256(b"\n".join(map(_ENCODER.encode, ordered))).hexdigest()
    return f"{len(ordered)} intervals sha256:{digest}"
