"""`twinmeter up` whose own Redis dies: it says so and ends, instead of looking alive; started again, it goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

from tests.e2e.installation import Installation


def test_up_ends_with_the_reason_when_its_redis_dies(tmp_path: Path):
    place = Installation(tmp_path / "installation")
    place.start()
    assert place.up is not None
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(place.up.pid)], capture_output=True, text=True, check=True
    )
    found = re.search(r"^\s*(\d+) .*redis-server", listed.stdout, re.MULTILINE)
    assert found, listed.stdout
    os.kill(int(found[1]), signal.SIGKILL)
    assert place.up.wait(45) == 1
    said = place.log.read_text()
    assert "an embedded server was lost" in said
    assert "redis-server" in said
    place.start()
    assert place.stop() == 0
