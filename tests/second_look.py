"""Runs pytest, and gives the few tests of real processes that failed in company a second look, alone.

Some tests stop, kill and partition real servers by the wall clock, beside other workers that do the same. Where a
machine stalls for seconds, one of them can miss an instant that it depends on. A failure that comes again without
company is a failure; one that does not is told by name, so that nobody has to guess why the run took longer. Tests of
anything else get no second look, and many failures at once are no accident either.

    python -m tests.second_look -q -n 3 -m "not soak"        # arguments are pytest's own
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REAL = ("tests/faults/", "tests/e2e/", "tests/integration/", "tests/conformance/")
"""Folders whose tests start real servers and live by the wall clock."""
MOST = 3
"""More failures than that are no accident of the machine."""
SOME_FAILED = 1
LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")


def main(arguments: list[str]) -> int:
    """Run the tests, and once more those that may have a second look; the exit code is pytest's."""
    LAST_FAILED.unlink(missing_ok=True)
    code = _pytest(*arguments)
    if code != SOME_FAILED or not LAST_FAILED.is_file():
        return code
    failed = sorted(json.loads(LAST_FAILED.read_text()))
    if len(failed) > MOST or not all(test.startswith(REAL) for test in failed):
        return code
    print(f"\n{len(failed)} failed in company; once more, alone:", *failed, sep="\n  ", flush=True)
    code = _pytest("-q", *failed)
    if code == 0:
        print("\nFAILED IN COMPANY, PASSED ALONE (see above what it missed):", *failed, sep="\n  ", flush=True)
    return code


def _pytest(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
