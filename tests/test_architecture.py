"""The direction of imports: feature_repo <- training <- serving <- monitoring, and what the served program may not carry."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["feature_repo", "training", "serving", "monitoring"]

SERVED_FROM_TRAINING = {
    # The running service loads and applies models, checks copy and reads the registry; it never trains.
    "training.retrieval.contract",
    "training.retrieval.model",
    "training.ranker.model",
    "training.ranker.policy",
    "training.ranker.wishes",
    "training.profile",
    "training.registry",
    "training.errors",
    "training.content.facts",
    "training.content.plan",
    "training.content.model",
    "training.content.policy",
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Dotted names of our own modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            is_package = (ROOT / node.module.replace(".", "/")).is_dir()
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if is_package else {node.module}
    return {name for name in found if name.split(".")[0] in ORDER and name not in ORDER}


@pytest.mark.parametrize("package", ORDER)
def test_imports_point_one_way(package: str) -> None:
    above = ORDER[ORDER.index(package) + 1 :]
    wrong = [f"{file.relative_to(ROOT)} imports {name}" for file in modules(package) for name in imported(file) if name.split(".")[0] in above]
    assert not wrong


def test_serving_takes_from_training_only_what_applies_a_model() -> None:
    wrong = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in modules("serving")
        if file.parent.name != "benchmark"  # makes and trains its own shop, and is not in a bento
        for name in imported(file)
        if name.startswith("training.") and name not in SERVED_FROM_TRAINING
    }
    assert not wrong


def test_no_module_is_named_for_nothing() -> None:
    vague = {"utils.py", "helpers.py", "common.py", "misc.py"}
    assert not [file for package in ORDER for file in modules(package) if file.name in vague]


def test_no_pickle() -> None:
    barred = {"pickle", "cloudpickle", "joblib", "dill"}
    wrong = []
    for file in (file for package in ORDER for file in modules(package)):
        for node in ast.walk(ast.parse(file.read_text())):
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else {getattr(node, "module", None)}
            if barred & names:
                wrong.append(str(file.relative_to(ROOT)))
    assert not wrong
