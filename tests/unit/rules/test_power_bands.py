"""Power bands as text."""

from __future__ import annotations

import pytest

from rules.errors import ParamError
from rules.params import param_value, read_param
from rules.power_bands import Band, read_bands


def test_bands_are_read_and_hold_both_their_ends() -> None:
    low, high = read_bands("300-799@985, 800-20000@950-999")
    assert (low, high) == (Band(300, 799, 985, 1000), Band(800, 20_000, 950, 999))
    assert [low.holds(step, 985) for step in (299, 300, 799, 800)] == [False, True, True, False]
    assert [high.holds(900, share) for share in (949, 950, 999, 1000)] == [False, True, True, False]
    assert read_bands("  ") == ()


def test_a_share_that_nobody_knows_lies_only_in_bands_that_ask_for_none() -> None:
    asks, does_not = read_bands("300-800@1 300-800")
    assert (asks.holds(400, None), does_not.holds(400, None)) == (False, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("300", "is not a power band"),
        ("300-", "is not a power band"),
        ("-300-400", "is not a power band"),
        ("300-400@", "is not a power band"),
        ("\u0663\u0660\u0660-400", "is not a power band"),
        ("400-300", "the lower end first"),
        ("0-300", "from 1 to"),
        ("300-2000000", "from 1 to"),
        ("300-400@1001", "from 0 to 1000"),
        ("300-400@990-980", "the lower end first"),
        (" ".join(["300-400"] * 13), "at most 12"),
    ],
)
def test_what_is_no_band_is_refused_with_a_reason(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_bands(text)


def test_a_parameter_of_bands_refuses_a_default_and_an_override_that_are_none() -> None:
    declared = {"type": "string", "format": "power_bands", "default": "300-800"}
    param = read_param("malignant_bands", declared)
    assert param_value(param, "1000-1100@900-960") == "1000-1100@900-960"
    with pytest.raises(ParamError, match="malignant_bands: '12' is not a power band"):
        param_value(param, "12")
    with pytest.raises(ParamError, match="is not a power band"):
        read_param("malignant_bands", {**declared, "default": "nothing"})
    with pytest.raises(ParamError, match="format"):
        read_param("malignant_bands", {**declared, "format": "colour"})
    with pytest.raises(ParamError, match="format"):
        read_param("malignant_hold", {"type": "duration", "format": "power_bands", "default": "5s"})
