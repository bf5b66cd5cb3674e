"""What Tortoise is spared from searching for is not there."""

from __future__ import annotations

import tortoise.models

from adapters.store import models
from adapters.store.models import uncommented


def test_no_model_has_a_comment_that_tortoise_would_take_for_a_description() -> None:
    found = [one for one in vars(models).values() if isinstance(one, type) and issubclass(one, tortoise.models.Model)]
    assert len(found) > 50
    assert {one.__name__: uncommented.searched(one) for one in found if uncommented.searched(one)} == {}
    assert tortoise.models._get_comments is uncommented.no_comments
    assert all(field.description is None for one in found for field in one._meta.fields_map.values())
