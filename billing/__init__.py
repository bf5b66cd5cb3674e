"""Money, tariffs and rating: pure functions over integers.

`tariff` says what a unit costs at an instant, `rating` turns a register delta into slices of one price, `posting`
turns slices into ledger rows, `offline` rates a whole series with the same code, `chain` seals the journal.
"""
