"""Which room of the package may import which, and what may never be imported early or at all."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "human_avatars"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

BODY = {"transforms", "files", "one_thread", "compiled_loops", "body_models"}
MAY_IMPORT = {
    "transforms": set(),
    "files": set(),
    "one_thread": set(),
    "compiled_loops": {"one_thread"},
    "rasterization": {"transforms", "compiled_loops"},
    "engine": set(),
    "body_models": {"transforms", "files", "compiled_loops"},
    "body_models.builder": BODY,
    "data": BODY,
    "capture": BODY,
    "viewer": BODY,
    "model_components": BODY,
    "field_components": BODY,
    "fields": BODY | {"field_components"},
    "models": BODY | {"fields", "field_components", "model_components", "rasterization", "viewer"},
    "checkpoints": BODY | {"models", "fields", "field_components"},
    "pipelines": BODY | {"models", "model_components", "data", "engine"},
    "configs": {"body_models", "data", "models", "pipelines", "engine"},
}
"""Rooms besides itself that a room may import. `models` and `data` meet in `pipelines` alone; `scripts` may all."""

SLOW_LIBRARIES = {"av", "cv2", "h5py", "numba", "open3d", "skimage", "trimesh"}
"""Every ns-* command imports our configs: what takes long to import waits inside the functions that need it."""

EARLY = ("human_avatars.configs", "human_avatars.scripts.cli")
"""What is imported before anyone knows which command will run."""


def room_of(module: str) -> str:
    """The room that a module of the package lies in."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if parts[:2] == ["body_models", "builder"] else parts[0] if parts else ""


def nodes_of(tree: ast.AST, at_import_only: bool) -> Iterator[ast.AST]:
    """The nodes of a syntax tree, or those that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if at_import_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        yield node
        yield from nodes_of(node, at_import_only)


@cache
def imports_of(module: str, at_import_only: bool = False) -> frozenset[str]:
    """Full names that a module imports; of `from a import b` both `a` and `a.b`."""
    names: set[str] = set()
    for node in nodes_of(ast.parse(MODULES[module].read_text(encoding="utf-8")), at_import_only):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: imports are written with their full path"
            assert node.module is not None
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


@pytest.mark.parametrize("module", MODULES)
def test_rooms_import_downwards(module: str) -> None:
    room = room_of(module)
    if room in ("", "scripts"):
        return
    assert room in MAY_IMPORT, f"{room} is a new room: say in this test what it may import"
    for name in imports_of(module) & MODULES.keys():
        assert room_of(name) in MAY_IMPORT[room] | {room, ""}, f"{module} may not import {name}"


@pytest.mark.parametrize("module", MODULES)
def test_smplx_is_imported_nowhere(module: str) -> None:
    # Its licence is non-commercial, ours is not.
    assert "smplx" not in {name.split(".")[0] for name in imports_of(module)}


def test_nothing_slow_is_imported_early() -> None:
    waiting = [module for module in MODULES if module.startswith(EARLY)]
    reached = set(waiting)
    while waiting:
        module = waiting.pop()
        imports = imports_of(module, at_import_only=True)
        slow = {name for name in imports if name.split(".")[0] in SLOW_LIBRARIES}
        assert not slow, f"{module} imports {slow} when any ns-* command starts: import inside the function"
        new = imports & MODULES.keys() - reached
        reached |= new
        waiting += new
    assert len(reached) > 10


def test_the_packages_own_init_imports_nothing() -> None:
    assert not imports_of("human_avatars")
