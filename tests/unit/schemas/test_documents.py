"""Files that people write: what is read, what is refused, and that every error names its line and path."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.documents import DOCUMENT_BYTES_MAX, DocumentError, check_document, load_checked, read_document
from tests.unit.schemas.refusals import errors_of

GOLDEN = Path(__file__).parents[2] / "golden" / "contract"


def test_yaml_scalars_follow_the_1_2_core_schema_and_dates_stay_text() -> None:
    text = """
    on: yes
    off: no
    date: 2026-01-01
    instant: 2026-01-01T00:00:00
    span: 00:00-08:00
    sexagesimal: 12:30
    int: 0123
    hex: 0x10
    octal: 0o10
    negative: -7
    quoted: "0.8523"
    single: '12'
    nothing:
    tilde: ~
    yes: True
    words: a b c
    firmware: 1.4.2
    block: |
      a
    """
    assert read_document(text).data == {
        "on": "yes", "off": "no", "date": "2026-01-01", "instant": "2026-01-01T00:00:00", "span": "00:00-08:00",
        "sexagesimal": "12:30", "int": 123, "hex": 16, "octal": 8, "negative": -7, "quoted": "0.8523", "single": "12",
        "nothing": None, "tilde": None, "yes": True, "words": "a b c", "firmware": "1.4.2", "block": "a\n",
    }  # fmt: skip


def test_places_of_values_and_keys() -> None:
    document = read_document("a: 1\nb:\n- x\n- {c: 'q'}\n")
    assert document.locate(("a",)) == (1, 4)
    assert document.locate(("b", 1, "c")) == (4, 7)
    assert document.locate_key(("b", 1, "c")) == (4, 4)
    assert document.locate(("b", 1, "missing", "deeper")) == (4, 3)
    assert document.locate(()) == (1, 1)


def test_aliases_are_copies() -> None:
    data = read_document("a: &x {n: 1}\nb: *x\nc: [*x, &y 5, *y]\n").data
    assert data == {"a": {"n": 1}, "b": {"n": 1}, "c": [{"n": 1}, 5, 5]}
    data["b"]["n"] = 2
    assert data["a"]["n"] == 1


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: 1\nb: 0.8523\n",
            "file.yaml:2:4: b: 0.8523 is a floating-point number, which cannot hold money exactly; write it",
        ),
        ("a: [1, 2.0]", "file.yaml:1:8: a[1]: 2.0 is a floating-point number"),
        ("a: 1e3", "file.yaml:1:4: a: 1e3 is a floating"),
        ("a: .nan", "file.yaml:1:4: a: .nan is a floating"),
        ("a: -.inf", "file.yaml:1:4: a: -.inf is a floating"),
        ("a: 1\nb: 2\na: 3\n", "file.yaml:3:1: a: the field 'a' is written twice, first in line 1"),
        ("x:\n  a: 1\n  a: 3\n", "file.yaml:3:3: x.a: the field 'a' is written twice, first in line 2"),
        ("a: 9223372036854775808", "file.yaml:1:4: a: 9223372036854775808 is beyond 64 bits"),
        ("a: " + "9" * 5000, "beyond 64 bits"),
        ("1: x", "file.yaml:1:1: document: the field name '1' is not a text"),
        ("[a]: x", "file.yaml:1:1: document: a field name must be a plain text"),
        ("a: [1, 2\nb: 3", "file.yaml:2:2: document: this is not YAML"),
        ("a: 'open", "this is not YAML"),
        ("\ta: 1", "this is not YAML"),
        ("a: *nowhere", "file.yaml:1:4: a: the alias *nowhere stands before or inside its anchor"),
        ("a: &a [*a]", "file.yaml:1:8: a[0]: the alias *a stands before or inside"),
        ("a: !!python/object/apply:os.system [x]", "file.yaml:1:4: a: tags are not allowed here"),
        ("a: !!float 1", "tags are not allowed"),
        ("---\na: 1\n---\nb: 1\n", "file.yaml:3:1: document: the file holds more than one document"),
        ("[" * 200, "nested deeper than 64 levels"),
        (BOMB, "the aliases expand to more than 500000 values"),
        ("a: \x00", "this is not YAML"),
        ("é: 1\nb: \x07", "file.yaml:2:4: document: this is not YAML: the character U+0007 is not allowed"),
        ('a: 1\nb: "x\u2028y"', "file.yaml:2:6: document: this is not YAML: the character U+2028 is a line separator"),
        ("a: \x85", 'write it "\\u0085"'),
        ("a: x\ud800", "file.yaml:1:5: document: this is not YAML: the character U+D800 is half of a character"),
        ("{?a: 1}", "file.yaml:1:2: document: quote a text that begins with a question mark"),
    ],
)
def test_bad_yaml_is_refused_at_its_place(text: str, expected: str) -> None:
    assert expected in errors_of(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{"a": 1,\n "b": 0.8523}',
            "file.json:2:7: b: 0.8523 is a floating-point number, which cannot hold money exactly; write it",
        ),
        ('{"a": 1.0}', "file.json:1:7: a: 1.0 is a floating"),
        ('{"a": 1e3}', "file.json:1:7: a: 1e3 is a floating"),
        ('{"a": 1,\n "a": 2}', "file.json:2:2: a: the field 'a' is written twice, first in line 1"),
        ('{"a": 1, "\\u0061": 2}', "the field 'a' is written twice"),
        ('{"a": 9223372036854775808}', "file.json:1:7: a: 9223372036854775808 is beyond 64 bits"),
        ('{"a": NaN}', "file.json:1:7: document: this is not JSON: a value is expected here"),
        ("[1,,2]", "file.json:1:4: document: this is not JSON"),
        ("[1 2]", "',' is expected here"),
        ("[1,]", "a value is expected here"),
        ('{"a" 1}', "':' is expected here"),
        ('{,"a": 1}', "a field name in double quotes is expected here"),
        ('{"a": 1, "a": 2 "b": 3}', "',' is expected here"),
        ("{a: 1}", "a field name in double quotes is expected here"),
        ('"open', "file.json:1:1: document: this is not JSON: Unterminated string"),
        ("[] x", "more text after the end"),
        ("", "a value is expected here"),
        ("[" * 200, "nested deeper than 64 levels"),
    ],
)
def test_bad_json_is_refused_at_its_place(text: str, expected: str) -> None:
    assert expected in errors_of(text, source="file.json")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES, st.sampled_from([None, 2]))
def test_json_reads_as_the_standard_library_reads_it(value: Any, indent: int | None) -> None:
    document = read_document(json.dumps(value, indent=indent), "file.json")
    assert document.data == value
    assert len(list(document.places.paths())) == document.places.nodes


@given(JSON_VALUES)
@settings(max_examples=50)
def test_every_place_in_json_is_where_the_value_stands(value: Any) -> None:
    text = json.dumps(value, indent=1)
    lines = text.split("\n")
    document = read_document(text, "file.json")
    for path in document.places.paths():
        line, column = document.locate(path)
        member = value
        for step in path:
            member = member[step]
        assert lines[line - 1][column - 1 :].startswith(json.dumps(member)[:1])


@given(st.text(alphabet="ab:-[]{}*&!|'\"\n #,01.~%@\t", max_size=60))
@settings(max_examples=200)
def test_reading_never_fails_in_another_way(text: str) -> None:
    for source in ("file.yaml", "file.json"):
        with contextlib.suppress(DocumentError):
            assert read_document(text, source).source == source


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"missing\.yaml:document: cannot be read: No such file"):
        load_checked(tmp_path / "missing.yaml", "tariff")
    with pytest.raises(DocumentError, match="cannot be read"):
        load_checked(tmp_path, "tariff")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (DOCUMENT_BYTES_MAX + 1))
    with pytest.raises(DocumentError, match="larger than 4194304 bytes"):
        load_checked(large, "tariff")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nname: caf\xe9\n")
    with pytest.raises(DocumentError, match=r"latin\.yaml:2:10: document: the file is not UTF-8"):
        load_checked(latin, "tariff")


def test_a_text_may_be_too_large_too() -> None:
    assert "larger than" in errors_of("#" * (DOCUMENT_BYTES_MAX + 1))


@pytest.mark.parametrize("name", ["tariff", "ruleset", "site"])
def test_yaml_and_json_of_one_document_are_the_same(name: str) -> None:
    document = load_checked(GOLDEN / f"{name}.yaml", name)
    as_json = check_document(read_document(json.dumps(document.data, indent=2), f"{name}.json"), name)
    assert as_json.data == document.data
