"""What tests of several rooms share."""

import pickle
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.open_body import load_open_body


@pytest.fixture(scope="session")
def open_body() -> BodyModel:
    """The packaged open body; its tensors are shared, so no test may write into them."""
    return load_open_body()


@pytest.fixture
def pickle_with_chumpy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """A writer of pickles such as the released SMPL files, which hold chumpy objects; it needs no chumpy."""

    def dump(states: dict[str, dict[str, Any]], others: dict[str, Any], protocol: int) -> bytes:
        class Ch:
            def __init__(self, state: dict[str, Any]) -> None:
                self.__dict__.update(state)

        Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
        module = types.ModuleType("chumpy.ch")
        module.Ch = Ch  # pyright: ignore[reportAttributeAccessIssue]
        objects = {name: Ch(state) for name, state in states.items()}
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
            patch.setitem(sys.modules, "chumpy.ch", module)
            return pickle.dumps(others | objects, protocol)

    return dump
