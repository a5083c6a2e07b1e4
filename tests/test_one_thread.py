"""The number of threads is lowered inside and restored outside, however threads and errors cross the block."""

import threading
from collections.abc import Iterator

import pytest
import torch

from human_avatars.one_thread import SMALL_PRODUCTS_ON_ONE_THREAD


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Two threads to begin with, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_inside_and_as_before_outside() -> None:
    with SMALL_PRODUCTS_ON_ONE_THREAD:
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_an_error_restores_it() -> None:
    with pytest.raises(RuntimeError, match="on purpose"), SMALL_PRODUCTS_ON_ONE_THREAD:
        raise RuntimeError("on purpose")
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("parallel_work_before", [False, True])
def test_threads_that_overlap_all_restore_it(parallel_work_before: bool) -> None:
    if parallel_work_before:
        torch.mm(torch.rand(512, 512), torch.rand(512, 512))
    entered, first_has_left = threading.Event(), threading.Event()
    restored: list[int] = []

    def second() -> None:
        with SMALL_PRODUCTS_ON_ONE_THREAD:
            entered.set()
            first_has_left.wait(10)
        restored.append(torch.get_num_threads())

    other = threading.Thread(target=second)
    with SMALL_PRODUCTS_ON_ONE_THREAD:
        other.start()
        assert entered.wait(10)
    first_has_left.set()
    other.join()
    assert restored == [2]
    assert torch.get_num_threads() == 2


def test_work_that_is_shared_in_another_way_keeps_its_threads() -> None:
    assert SMALL_PRODUCTS_ON_ONE_THREAD.threads_outside() == 2
    with SMALL_PRODUCTS_ON_ONE_THREAD:
        assert SMALL_PRODUCTS_ON_ONE_THREAD.threads_outside() == 2
