"""The hash chain over the journal: changing, removing or reordering a posted journal breaks every later hash.

Theory of operation. The hash of a journal is SHA-256 over the previous hash and a canonical encoding of the journal.
The encoding writes each field as its length in bytes, a colon and its bytes (text as UTF-8, integers as decimal
text), in a fixed order, the legs after their count. As every field says where it ends, no two journals share an
encoding: joining fields with a separator would not promise that. Derived balances are not part of it.
"""

import hashlib

import msgspec

_DOMAIN = b"twinmeter.journal/v1"
_PREFIX = b"%d:%b" % (len(_DOMAIN), _DOMAIN)
_DIGEST_SIZE = hashlib.sha256().digest_size

GENESIS = hashlib.sha256(_DOMAIN).digest()
"""What stands in place of the previous hash before the first journal."""


class JournalRecord(msgspec.Struct, frozen=True):
    """A posted journal as the chain sees it.

    `seq` counts within the site, `reference` is the natural or idempotency key, `ts_ms` Unix ms; `legs` are
    (account, amount in nano-units), in an order that is part of the record.
    """

    site: str
    seq: int
    kind: str
    ts_ms: int
    reference: str
    actor: str
    memo: str
    legs: tuple[tuple[str, int], ...]


def canonical(journal: JournalRecord) -> bytes:
    """The unambiguous bytes of a journal; raises TypeError for a field that is neither text nor int as declared."""
    parts = [
        _text(journal.site),
        _integer(journal.seq),
        _text(journal.kind),
        _integer(journal.ts_ms),
        _text(journal.reference),
        _text(journal.actor),
        _text(journal.memo),
        _integer(len(journal.legs)),
    ]
    for account, amount_nano in journal.legs:
        parts.append(_text(account))
        parts.append(_integer(amount_nano))
    return b"".join(parts)


def journal_hash(prev_hash: bytes, journal: JournalRecord) -> bytes:
    """The 32-byte hash of a journal that follows `prev_hash` (GENESIS for the first)."""
    if len(prev_hash) != _DIGEST_SIZE:
        raise ValueError(f"the previous hash must have 32 bytes, found {len(prev_hash)}")
    return hashlib.sha256(_PREFIX + _field(prev_hash) + canonical(journal)).digest()


def _text(value: str) -> bytes:
    if type(value) is not str:
        raise TypeError(f"a journal's text field holds {value!r}")
    encoded = value.encode()
    return b"%d:%b" % (len(encoded), encoded)


def _integer(value: int) -> bytes:
    # bool is an int to Python and a float can equal one; neither has a single decimal text.
    if type(value) is not int:
        raise TypeError(f"a journal's integer field holds {value!r}")
    digits = b"%d" % value
    return b"%d:%b" % (len(digits), digits)


def _field(value: bytes) -> bytes:
    return b"%d:%b" % (len(value), value)
