"""The life of a meter: acts, replacement, history, rating again, explained lines."""
