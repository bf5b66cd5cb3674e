"""From the effect stream to rows: the ledger writer and what it posts."""
