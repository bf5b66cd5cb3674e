"""The wire and file contracts: one JSON Schema a message or file, and the doors that hold outsiders to them.

`registry` compiles each `<name>.v1.json` once and turns its errors into sentences with a place; `documents`
reads the YAML and JSON that people write; `telemetry` is the fast door for what devices send; `topics`,
`durations` and `clock_spec` parse the small texts both sides share. Nothing here knows a twin, a price or a store.
"""
