"""The packaged body as the builder's tests read it."""

from importlib import resources

import pytest

from human_avatars.body_models.builder.body_files import OpenBody, read_body_files
from human_avatars.body_models.open_body import ASSET


@pytest.fixture(scope="session")
def packaged() -> OpenBody:
    """The packaged body and its surface maps; shared, so no test may write into them."""
    with resources.as_file(resources.files("human_avatars.body_models") / "assets") as assets:
        return read_body_files(assets / ASSET)
