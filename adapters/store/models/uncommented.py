"""Models are made without a look at their sources.

Tortoise searches the source of each model for `#:` comments, to describe columns by them. Python parses a whole file to
find one class in it, so with our models that took a quarter of the time in which every command starts. No model of ours
has such a comment (`tests/unit/adapters/store/test_uncommented.py`).
"""

from __future__ import annotations

import tortoise.models


def no_comments(cls: type[tortoise.models.Model]) -> dict[str, str]:  # noqa: ARG001 -- called by its name or place
    """What Tortoise would find."""
    return {}


searched = tortoise.models._get_comments
"""As Tortoise does it."""
tortoise.models._get_comments = no_comments
