"""The rule engine: pure knowledge about what a rule file means and what it does to a twin.

The way of a rule: a document (a plain dict that passed its schema) goes through `ruleset.compile_ruleset`, which
reads parameters (`params`), calendars (`calendars`), expressions (`language`) and actions (`actions`) and gives a
`Ruleset` of compiled `Rule`s (`rule`), or all problems of the file (`errors`). `step.step` evaluates one rule for one
twin, live and everywhere else; its memory and its result stand in `state`. `explain` tells why a rule fired or did
not. `testing` runs the tests that stand in the rule file, with samples written as in `series`; `coverage` counts what
they exercise, `junit` writes their results. `conflicts` finds rules that get in each other's way. `packs/` are rule
files ready for use.

Nothing here awaits, reads a clock, draws a number at random or does I/O: the time, the values and the zone come with
the environment (`language.values.Env`), the twin's paths with a `TwinModel` that the caller builds.
"""
