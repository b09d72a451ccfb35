"""docs/settings.md lists every setting there is, as the code has it."""

import ast
from pathlib import Path

import pytest

from monitoring.settings_page import CLASSES, PAGE, own_fields, page, variable

ROOT = Path(__file__).parents[1]


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == page(), "write it again: python -m monitoring.settings_page"


@pytest.mark.parametrize(("title", "settings"), CLASSES, ids=[title.split()[0] for title, _ in CLASSES])
def test_every_setting_is_listed_with_its_help(title: str, settings: type) -> None:
    section = PAGE.read_text().split(f"## {title}")[1].split("\n## ")[0]
    for name, field in own_fields(settings):
        assert f"| `{variable(name)}` |" in section
        assert field.description, f"{settings.__name__}.{name} has no line of help"


def test_no_settings_class_is_forgotten() -> None:
    found = set()
    for package in ("feature_repo", "training", "serving", "monitoring"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "").endswith("Settings") for base in node.bases):
                    found.add(node.name)
    assert found == {settings.__name__ for _, settings in CLASSES}


def test_a_variable_that_two_packages_read_means_the_same_to_both() -> None:
    read: dict[str, tuple[object, object]] = {}
    for _, settings in CLASSES:
        for name, field in own_fields(settings):
            assert read.setdefault(name, (field.annotation, field.default)) == (field.annotation, field.default), name
