"""Proving an exported ledger without its database: the auditor's side of `ledger export`.

Theory of operation. An export is one JSON object a line, in this order: `head`; `epoch` for each register epoch;
`journal` by number, each with its legs, the charged intervals and fee lines it covers, and its payment; `interval`, for
what cost nothing and has no journal; `adjustments`, a batch a line; `account` totals; `end`. The proof reads it once,
forward. It keeps one number for each account and each open end of a register chain, so memory does not grow with time.

Tiling is proved by ends: every interval rises, each of its ends is counted once up and once down, and what is left over
in an epoch must be its opening and its head alone. Rising steps that leave nothing else over form one unbroken path.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from billing.chain import GENESIS, JournalRecord, journal_hash

FORMAT = "twinmeter.ledger/v1"
_ENCODER = msgspec.json.Encoder()


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with an exported ledger: a stable code, the place, the detail."""

    code: str
    where: str
    detail: str


class LedgerProof:
    """One export going by. `kept` are anchors kept elsewhere: journal number -> hash in hex."""

    def __init__(self, kept: Mapping[int, str] | None = None) -> None:
        self.site = ""
        self.seq = 0
        self.head = GENESIS
        self.lines = 0
        self.payments = 0
        self.ended = False
        self._kept = dict(kept or {})
        self._claimed: dict[str, Any] = {}
        self._digest = hashlib.sha256()
        self._credits: Counter[str] = Counter()
        self._charges: Counter[str] = Counter()
        self._total = 0
        self._ends: dict[tuple[str, int], Counter[int]] = {}
        self._epochs: dict[tuple[str, int], tuple[int, int]] = {}
        self._batches: Counter[str] = Counter()
        self._told: set[str] = set()

    def line(self, text: bytes) -> list[Fault]:
        """Look at the next line. What is no line of an export is a fault, too."""
        self.lines += 1
        where = f"line {self.lines}"
        if self.ended:
            return [Fault("after_end", where, "there are lines behind the end")]
        try:
            entry: dict[str, Any] = msgspec.json.decode(text)
            handle = _HANDLERS[entry["t"]]
        except (msgspec.DecodeError, KeyError, TypeError):
            return [Fault("unreadable", where, f"{text[:60]!r} is no line of an export")]
        if self.lines == 1 and entry["t"] != "head":
            return [Fault("unreadable", where, f"an export begins with its head, format {FORMAT}")]
        try:
            faults = list(handle(self, entry))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            return [Fault("unreadable", where, f"a line of kind {entry['t']!r} lacks something: {error!r}")]
        if not self.ended:
            self._digest.update(text.rstrip(b"\r\n") + b"\n")
        return faults

    def close(self) -> list[Fault]:
        """Look at the export as a whole, after its last line."""
        faults = [] if self.ended else [Fault("no_end", f"line {self.lines}", "the export is cut off")]
        claimed = (self._claimed.get("journal_seq"), self._claimed.get("journal_hash"))
        if claimed != (self.seq, self.head.hex()):
            detail = f"the journal ends at {self.seq}, the export says {claimed[0]}: its tail was cut or replaced"
            faults.append(Fault("journal_tail", f"site {self.site}", detail))
        if self._total:
            faults.append(
                Fault("trial_balance", f"site {self.site}", f"all accounts sum to {self._total}, not to zero")
            )
        faults += self._check_epochs()
        for memo, count in self._batches.items():
            if count:
                faults.append(Fault("adjustment_digest", f"batch {memo}", "no adjustments belong to its journals"))
        faults += [
            Fault("anchor_missing", f"journal {seq}", "an anchor kept elsewhere names it: the ledger was cut short")
            for seq in self._kept
        ]
        return faults

    def _check_epochs(self) -> list[Fault]:
        faults = []
        for key in sorted({*self._ends, *self._epochs}):
            where = f"meter {key[0]} epoch {key[1]}"
            ends = {qty: count for qty, count in self._ends.get(key, Counter()).items() if count}
            if key not in self._epochs:
                faults.append(Fault("no_epoch", where, "energy is charged for an epoch that was never opened"))
                continue
            opening, head = self._epochs[key]
            expected = {} if opening == head else {opening: 1, head: -1}
            if ends != expected:
                odd = ", ".join(str(qty) for qty in sorted({*ends} ^ {*expected})[:6]) or "doubled intervals"
                faults.append(Fault("not_tiled", where, f"a gap, an overlap or a wrong end at {odd}"))
        return faults

    def _on_head(self, entry: dict[str, Any]) -> Iterable[Fault]:
        self.site, self._claimed = entry["site"], entry
        if entry["format"] != FORMAT:
            yield Fault("unreadable", "line 1", f"format {entry['format']!r} is not {FORMAT}")

    def _on_epoch(self, entry: dict[str, Any]) -> Iterable[Fault]:
        self._epochs[entry["meter"], entry["epoch"]] = (entry["opening"], entry["head"])
        return ()

    def _on_journal(self, entry: dict[str, Any]) -> Iterable[Fault]:
        where = f"journal {entry['seq']} ({entry['reference']})"
        legs = tuple((str(account), int(nano)) for account, nano in entry["legs"])
        prev, own = bytes.fromhex(entry["prev_hash"]), bytes.fromhex(entry["hash"])
        if entry["seq"] != self.seq + 1:
            yield Fault("missing_journal", where, f"journal {self.seq + 1} should come here")
        elif prev != self.head:
            yield Fault("chain_broken", where, "it does not follow the journal before it: one of the two was replaced")
        if len(legs) < 2 or sum(nano for _, nano in legs) != 0:
            yield Fault("unbalanced", where, f"its {len(legs)} legs sum to {sum(nano for _, nano in legs)}")
        facts = (entry["seq"], entry["kind"], entry["ts"], entry["reference"], entry["actor"], entry["memo"])
        if journal_hash(prev, JournalRecord(self.site, *facts, legs)) != own:
            yield Fault("journal_edited", where, "its content does not have the hash that was posted with it")
        self.seq, self.head = entry["seq"], own
        kept = self._kept.pop(self.seq, None)
        if kept is not None and kept != own.hex():
            yield Fault("anchor_chain", where, "an anchor kept elsewhere has another hash for it")
        yield from self._covered(entry, legs, where)

    def _covered(self, entry: dict[str, Any], legs: tuple[tuple[str, int], ...], where: str) -> Iterable[Fault]:
        kind = entry["kind"]
        for account, nano in legs:
            self._total += nano
            if kind == "charge":
                self._charges[account] -= nano
            else:
                self._credits[account] += nano
        if kind == "charge":
            yield from self._check_charges(entry, legs, where)
        elif kind == "adjustment":
            self._batches[entry["memo"]] += 0 if entry["memo"] in self._told else 1
            self._told.add(entry["memo"])
        elif "fees" in entry and _fee_memo(entry["fees"]) != entry["memo"]:
            yield Fault("fee_digest", where, "its fee lines are not those its digest was made of")
        if (kind == "topup") != ("payment" in entry):
            yield Fault("payment", where, "a top-up has a payment, and nothing else has")
        elif kind == "topup":
            self.payments += 1
            yield from _check_payment(entry, legs, where)

    def _check_charges(self, entry: dict[str, Any], legs: tuple[tuple[str, int], ...], where: str) -> Iterable[Fault]:
        owed: Counter[str] = Counter()
        for row in entry["charges"]:
            yield from self._interval(row)
            owed[row[-1]] += row[13]
        for account, nano in owed.items():
            booked = -sum(leg for name, leg in legs if name == account)
            if booked != nano:
                yield Fault("charge_amount", where, f"{booked} is booked on {account}, its intervals cost {nano}")
        if charge_memo(row[:15] for row in entry["charges"]) != entry["memo"]:
            yield Fault("charge_digest", where, "its intervals are not those its digest was made of")

    def _interval(self, row: Sequence[Any]) -> Iterable[Fault]:
        meter, epoch, from_qty, to_qty = row[:4]
        where = f"meter {meter} epoch {epoch} interval {from_qty} to {to_qty}"
        if to_qty <= from_qty:
            yield Fault("not_tiled", where, "an interval must rise")
        if row[13] != (to_qty - from_qty) * row[12]:
            yield Fault("amount", where, f"{row[13]} is not {to_qty - from_qty} times {row[12]}")
        ends = self._ends.setdefault((meter, epoch), Counter())
        for qty, step in ((from_qty, 1), (to_qty, -1)):
            ends[qty] += step
            if not ends[qty]:
                del ends[qty]

    def _on_interval(self, entry: dict[str, Any]) -> Iterable[Fault]:
        return self._interval(entry["row"])

    def _on_adjustments(self, entry: dict[str, Any]) -> Iterable[Fault]:
        memo = adjustment_memo(entry["rows"])
        if self._batches.get(memo):
            self._batches[memo] = 0
        elif sum(row[entry["moved"][0]] - row[entry["moved"][1]] for row in entry["rows"]):
            yield Fault("adjustment_digest", f"batch {entry['batch']}", "no journal carries the digest of its rows")

    def _on_account(self, entry: dict[str, Any]) -> Iterable[Fault]:
        account = entry["account"]
        for name, kept, counted in (
            ("credits", entry["credits_nano"], self._credits[account]),
            ("charges", entry["charges_nano"], self._charges[account]),
        ):
            if kept != counted:
                yield Fault(name, account, f"{kept} is kept, the legs add up to {counted}")

    def _on_end(self, entry: dict[str, Any]) -> Iterable[Fault]:
        self.ended = True
        if (entry["lines"], entry["sha256"]) != (self.lines - 1, self._digest.hexdigest()):
            yield Fault("file_edited", f"line {self.lines}", "the lines before it are not those that were written")


_HANDLERS = {
    "head": LedgerProof._on_head,
    "epoch": LedgerProof._on_epoch,
    "journal": LedgerProof._on_journal,
    "interval": LedgerProof._on_interval,
    "adjustments": LedgerProof._on_adjustments,
    "account": LedgerProof._on_account,
    "end": LedgerProof._on_end,
}


def kept_hashes(lines: Iterable[str]) -> dict[int, str]:
    """Journal number -> hash in hex, of anchors kept elsewhere, a line each. Raises ValueError for another line."""
    kept = {}
    for line in lines:
        if not line.strip():
            continue
        try:
            anchor = msgspec.json.decode(line)
            kept[int(anchor["journal_seq"])] = str(anchor["journal_hash"])
        except (msgspec.DecodeError, KeyError, TypeError):
            raise ValueError(f"{line[:60]!r} is not an anchor as `ledger anchor` writes it") from None
    return {seq: digest for seq, digest in kept.items() if seq}


def charge_memo(rows: Iterable[Sequence[Any]]) -> str:
    """The memo of a charge journal: how many intervals, and the SHA-256 of them in the order of the chain."""
    ordered = sorted((tuple(row) for row in rows), key=lambda row: row[:3])
    digest = hashlib.sha256(b"\n".join(map(_ENCODER.encode, ordered))).hexdigest()
    return f"{len(ordered)} intervals sha256:{digest}"


def adjustment_memo(rows: Iterable[Sequence[Any]]) -> str:
    """The memo of the journals of a batch of adjustments: how many, and the SHA-256 of them by their number."""
    ordered = sorted((tuple(row) for row in rows), key=lambda row: row[1])
    digest = hashlib.sha256(b"\n".join(map(_ENCODER.encode, ordered))).hexdigest()
    return f"{len(ordered)} adjustments sha256:{digest}"


def _fee_memo(rows: Sequence[Sequence[Any]]) -> str:
    return "sha256:" + hashlib.sha256(_ENCODER.encode(list(rows))).hexdigest()


def _check_payment(entry: dict[str, Any], legs: tuple[tuple[str, int], ...], where: str) -> Iterable[Fault]:
    paid = entry["payment"]
    facts = {
        "number": paid["payment"] == f"P{entry['seq']}",
        "tenant or key": entry["reference"] == f"topup:{paid['tenant']}:{paid['key']}",
        "channel or reference": entry["memo"] == f"{paid['channel']} {paid['reference']}".rstrip(),
        "actor": entry["actor"] == paid["actor"],
        "time": entry["ts"] == paid["ts"],
        "amount": dict(legs).get(f"tenant:{paid['tenant']}:wallet") == paid["amount_nano"],
    }
    for name, holds in facts.items():
        if not holds:
            yield Fault("payment_edited", where, f"the {name} of its payment is not what was booked")
