"""The results of rule tests as JUnit XML, which every continuous integration service reads.

One `<testsuite>` a rule file, one `<testcase>` a test, one `<failure>` with every difference of a test that failed.
Characters that XML 1.0 cannot carry at all are written as the replacement character.
"""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from rules.testing import TestResult

_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in range(32) if chr(code) not in "\t\n\r"}
_CONTROLS |= dict.fromkeys([*range(0xD800, 0xE000), 0xFFFE, 0xFFFF], "\N{REPLACEMENT CHARACTER}")


def junit_xml(suites: Sequence[tuple[str, str, Sequence[TestResult]]]) -> str:
    """A JUnit document of (file, ruleset, results) entries."""
    tests = sum(len(results) for _, _, results in suites)
    failed = sum(_failed(results) for _, _, results in suites)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<testsuites tests="{tests}" failures="{failed}">']
    for file, ruleset, results in suites:
        lines += _suite(file, ruleset, results)
    return "\n".join([*lines, "</testsuites>", ""])


def _suite(file: str, ruleset: str, results: Sequence[TestResult]) -> list[str]:
    head = f"<testsuite name={_attribute(ruleset)} file={_attribute(file)}"
    lines = [f'  {head} tests="{len(results)}" failures="{_failed(results)}" errors="0" skipped="0">']
    for result in results:
        case = f"<testcase classname={_attribute(ruleset)} name={_attribute(result.name)} file={_attribute(file)}"
        if result.passed:
            lines.append(f"    {case}/>")
            continue
        said = _text("\n".join(result.failures))
        first = _attribute(result.failures[0] if result.failures else "failed")
        lines += [f"    {case}>", f"      <failure message={first}>{said}</failure>", "    </testcase>"]
    return [*lines, "  </testsuite>"]


def _failed(results: Sequence[TestResult]) -> int:
    return sum(not result.passed for result in results)


def _text(value: str) -> str:
    return escape(value.translate(_CONTROLS))


def _attribute(value: str) -> str:
    return quoteattr(value.translate(_CONTROLS))
