"""What the command line says when something is wrong: one clear sentence with its place, and the right exit code."""

from __future__ import annotations

import os
import sys

DONE, FAILED, USAGE = 0, 1, 2


class CommandError(Exception):
    """A command cannot go on; the text is for people, one problem a line. Exit code 1: a check failed."""

    code = FAILED


class WrongUsageError(CommandError):
    """What was asked for cannot be meant: a setting, an option or a missing file. Exit code 2."""

    code = USAGE


def debugging() -> bool:
    """Whether tracebacks are wanted: `TWINMETER_DEBUG=1`."""
    return os.environ.get("TWINMETER_DEBUG", "") not in ("", "0")


def report(error: BaseException) -> int:
    """Print what an error means to stderr; returns the exit code."""
    from schemas.documents import DocumentError

    error = _innermost(error)
    if isinstance(error, CommandError | DocumentError):
        print(f"error: {error}" if "\n" not in str(error) else str(error), file=sys.stderr)
        return getattr(error, "code", FAILED)
    text = " ".join(str(error).split())[:1000]
    print(f"error: {type(error).__name__}: {text} (TWINMETER_DEBUG=1 shows where it happened)", file=sys.stderr)
    return FAILED


def _innermost(error: BaseException) -> BaseException:
    """The one error inside a group of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
