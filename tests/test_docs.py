"""The docs name files that exist and commands that the Makefile has."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", page.read_text(), re.M))
    assert {first or second for first, second in named} <= targets


def test_the_readme_s_tree_is_true() -> None:
    tree = (ROOT / "README.md").read_text().split("## The house")[1].split("```")[1]
    named = [line.split()[0] for line in tree.strip().splitlines()]
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_pages_name_no_private_place() -> None:
    wrong = [str(page.relative_to(ROOT)) for page in PAGES if re.search(r"/work/|/tmp/|\.\./shared", page.read_text())]
    assert not wrong
