"""The documentation is true of the code, as far as a program can tell: generated pages are fresh, links lead somewhere,
files that pages name exist, settings and kinds of incidents are all explained."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from api.http.site_metrics import INCIDENT_KINDS
from api.settings import ENVIRONMENT, Settings
from docs import generate

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:twin|rules|billing|schemas|adapters|api|simulators|tests|docs|deploy|web)/[\w./-]+)`")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
MADE_ON_SITE = {"deploy/secrets", "deploy/certs"}
"""What an installation makes and the repository does not have."""


def pages() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


PAGES = pages()


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    titles = HEADING.findall(path.read_text(encoding="utf-8"))
    kept = ("".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_") for title in titles)
    return {title.replace(" ", "-") for title in kept}


def test_generated_pages_are_fresh():
    assert generate.stale() == [], "run `make docs`"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path: Path):
    for target in LINK.findall(prose(path)):
        if "://" in target or target.startswith("mailto:"):
            continue
        place, _, anchor = target.partition("#")
        found = (path.parent / place).resolve() if place else path
        assert found.exists(), f"{name(path)} links to {target}"
        if anchor and found.suffix == ".md" and found.exists():
            assert anchor in anchors(found), f"{name(path)} links to {target}, which has no such heading"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_files_that_pages_name_exist(path: Path):
    for named in NAMED.findall(prose(path)):
        if re.search(r"NAME|NNNN|AREA", named) or named.startswith(tuple(MADE_ON_SITE)):
            continue
        assert (ROOT / named.rstrip("/.")).exists(), f"{name(path)} names {named}"


def test_both_readmes_say_the_same_things_in_the_same_order():
    english, chinese = ((ROOT / file).read_text(encoding="utf-8") for file in ("README.md", "README.zh-CN.md"))
    assert len(HEADING.findall(english)) == len(HEADING.findall(chinese))
    local = [
        [link.replace(".zh-CN", "") for link in LINK.findall(text) if not link.startswith(("README", "docs/images"))]
        for text in (english, chinese)
    ]
    assert sorted(local[0]) == sorted(local[1])
    commands = [
        re.findall(r"^(?:make|twinmeter|deploy/|docker) ?\S+", text, re.MULTILINE) for text in (english, chinese)
    ]
    assert commands[0] == commands[1]


def test_every_decision_is_in_the_index_and_has_its_parts():
    index = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    decisions = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        assert f"({path.name})" in index
        text = path.read_text(encoding="utf-8")
        assert all(f"\n## {part}\n" in text for part in ("Context", "Decision", "Consequences")), path.name
        assert text.count("\n") < 60, f"{path.name} is longer than a page"


def test_every_setting_is_explained():
    assert set(generate.SETTINGS) == set(Settings.__struct_fields__)
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert all(f"`{variable}`" in page for variable in ENVIRONMENT.values())


def test_every_kind_of_incident_says_what_to_do():
    page = (ROOT / "docs/operations/README.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE))
    assert told >= INCIDENT_KINDS
