"""`python -m monitoring.settings_page`: writes docs/settings.md, the table of every setting, from the four settings classes.

It stands here because only this package may import all four. `tests/test_settings_docs.py` fails while the page is not up to date.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from feature_repo.settings import Settings
from monitoring.settings import MonitoringSettings
from serving.settings import ServingSettings
from training.settings import TrainingSettings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

CLASSES: tuple[tuple[str, type[Settings]], ...] = (
    ("Everywhere (`feature_repo/settings.py`)", Settings),
    ("Training (`training/settings.py`)", TrainingSettings),
    ("Serving and campaigns (`serving/settings.py`)", ServingSettings),
    ("Monitoring (`monitoring/settings.py`)", MonitoringSettings),
)


def variable(name: str) -> str:
    """Environment variable of a setting: shop -> STORYSHELF_SHOP."""
    return f"{Settings.model_config['env_prefix']}{name}".upper()


def own_fields(settings: type[Settings]) -> Iterator[tuple[str, FieldInfo]]:
    """Settings that the class adds to the shared ones."""
    shared = set() if settings is Settings else set(Settings.model_fields)
    yield from ((name, field) for name, field in settings.model_fields.items() if name not in shared)


def page() -> str:
    """The whole of docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Every setting is an environment variable; a command reads them once, when it starts. This page is generated:",
        "`python -m monitoring.settings_page` writes it, and a test compares it with the code.",
        "",
    ]
    for title, settings in CLASSES:
        lines += [f"## {title}", "", "| variable | type | default | what it does |", "|---|---|---|---|"]
        lines += [_row(name, field) for name, field in own_fields(settings)]
        lines.append("")
    return "\n".join(lines)


def _row(name: str, field: FieldInfo) -> str:
    cells = (f"`{variable(name)}`", _type(field.annotation), _default(field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    words = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`", Path: "folder or file", SecretStr: "secret text"}
    return words.get(annotation, f"`{getattr(annotation, '__name__', annotation)}`")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`" if str(value) else "empty"


def main() -> None:
    PAGE.write_text(page())
    print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()
