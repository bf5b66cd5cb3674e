"""The pages that teach the language: every example is compiled, every test in them runs, both languages agree."""

import re
from pathlib import Path

import pytest

from rules.conflicts import find_conflicts
from rules.errors import InvalidExpressionError
from rules.language import compile_expression, parser
from rules.language.kinds import DURATION, MONEY, Type
from rules.ruleset import compile_ruleset
from rules.testing import run_suite
from schemas.documents import check_document, read_document
from tests.unit.rules.twin_model import SHANGHAI
from twin.core.rehearsal import rehearse
from twin.core.view import TWIN_MODEL

DOCS = Path(__file__).parents[3] / "docs"
PAGES = ("rules.md", "rules.zh-CN.md")
PARAMS = {"limit_w": Type("int", "W"), "low": MONEY, "grace": DURATION}


def blocks(page, language):
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_every_rule_file_passes_its_schema_and_its_tests(page):
    files = blocks(page, "yaml")
    assert len(files) == 6
    for text in files:
        document = check_document(read_document(text, page), "ruleset")
        ruleset = compile_ruleset(document.data, TWIN_MODEL, document.locate)
        assert find_conflicts([ruleset]) == []
        suite = run_suite(ruleset, document.data, SHANGHAI, rehearse)
        assert suite.results
        assert [(result.name, result.failures) for result in suite.results if not result.passed] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_expression_compiles(page):
    (examples,) = blocks(page, "cel")
    for text in examples.splitlines():
        assert compile_expression(text, TWIN_MODEL, PARAMS, "meter").text == text


@pytest.mark.parametrize("page", PAGES)
def test_every_mistake_is_refused_with_the_words_on_the_page(page):
    (examples,) = blocks(page, "wrong")
    for line in examples.splitlines():
        text, _, message = line.partition("  # ")
        with pytest.raises(InvalidExpressionError) as caught:
            compile_expression(text.strip(), TWIN_MODEL, PARAMS, "meter")
        assert str(caught.value) == message.strip()


@pytest.mark.parametrize("page", PAGES)
def test_the_grammar_is_that_of_the_parser(page):
    (grammar,) = blocks(page, "ebnf")
    written = [line.removeprefix("    ") for line in parser.__doc__.splitlines() if line.startswith("    ")]
    assert grammar.splitlines() == written


def test_both_languages_show_the_same_examples():
    for language in ("yaml", "cel", "wrong", "ebnf"):
        assert blocks(PAGES[0], language) == blocks(PAGES[1], language)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert len(targets) >= 4
    assert [target for target in targets if not (DOCS / target).exists()] == []
