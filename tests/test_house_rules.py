"""The sizes and docstrings that the package and its tests keep to."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE_FILES = sorted((ROOT / "human_avatars").rglob("*.py"))
ALL_FILES = PACKAGE_FILES + sorted((ROOT / "tests").rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", ALL_FILES, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(parse(path)):
        if isinstance(node, FUNCTIONS):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, (
                f"{node.name} has over {MAX_FUNCTION_LINES} lines"
            )


@pytest.mark.parametrize("path", ALL_FILES, ids=name_of)
def test_files_open_with_one_sentence(path: Path) -> None:
    docstring = ast.get_docstring(parse(path))
    assert docstring, "the first line says what lives here"
    assert docstring.splitlines()[0].endswith(".")


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=name_of)
def test_what_is_public_is_documented(path: Path) -> None:
    tree = parse(path)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    public = [node for node in tree.body if isinstance(node, FUNCTIONS)] + classes
    public += [node for owner in classes for node in owner.body if isinstance(node, FUNCTIONS)]
    missing = [node.name for node in public if not node.name.startswith("_") and not ast.get_docstring(node)]
    assert not missing, f"without a docstring: {missing}"


@pytest.mark.parametrize("path", [path for path in PACKAGE_FILES if path.name == "__init__.py"], ids=name_of)
def test_init_files_hold_a_docstring_alone(path: Path) -> None:
    assert len(parse(path).body) == 1


@pytest.mark.parametrize("path", ALL_FILES, ids=name_of)
def test_annotations_are_checked_at_run_time(path: Path) -> None:
    # Annotations that are strings would pass jaxtyping and beartype unread.
    assert "__future__" not in {node.module for node in ast.walk(parse(path)) if isinstance(node, ast.ImportFrom)}
    assert path.name != "utils.py"
