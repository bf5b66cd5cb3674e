"""Faults on real processes: what must survive what, one file a row or a family of rows of `docs/faults.md`."""
