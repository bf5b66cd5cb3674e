"""Does a device keep the wire contract? Numbered clauses that a maker can run against firmware over any broker.

The kit plays the platform: it listens to one device, commands it, misbehaves towards it and writes down what it saw.
It knows the contract of `schemas/` and nothing of the platform, so passing it means what it says.
"""
