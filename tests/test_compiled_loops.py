"""Compiled loops: every part runs once, any number of threads may call, errors arrive, forks and edits do no harm."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from human_avatars.compiled_loops import compile_loop, run_in_parts


def add_one(part: int, num_parts: int, values: np.ndarray) -> None:
    for i in range(part, values.shape[0], num_parts):
        values[i] += 1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_entry_is_visited_once(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        values = np.zeros(1001)
        run_in_parts(compile_loop(add_one), values)
    finally:
        torch.set_num_threads(before)
    assert (values == 1).all()


def test_many_callers_at_once() -> None:
    loop = compile_loop(add_one)
    tables = [np.zeros(5000) for _ in range(8)]
    callers = [
        threading.Thread(target=lambda table=table: [run_in_parts(loop, table) for _ in range(50)]) for table in tables
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
    assert all((table == 50).all() for table in tables)


@pytest.mark.parametrize("bad_part", [0, 1])
def test_an_error_in_any_part_reaches_the_caller_after_all_have_ended(bad_part: int) -> None:
    ended = []

    def loop(part: int, num_parts: int) -> None:
        if part == bad_part:
            raise ZeroDivisionError
        ended.append(part)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            run_in_parts(loop)
    finally:
        torch.set_num_threads(before)
    assert ended == [1 - bad_part]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        loop = compile_loop(add_one)
        run_in_parts(loop, np.zeros(8))
        child = os.fork()
        if child == 0:
            values = np.zeros(8)
            threading.Timer(30, lambda: os._exit(2)).start()
            run_in_parts(loop, values)
            os._exit(0 if (values == 1).all() else 1)
        _, status = os.waitpid(child, 0)
    finally:
        torch.set_num_threads(before)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_loop_is_compiled_anew_when_a_neighbour_changes(tmp_path: Path) -> None:
    (tmp_path / "outer_kernels.py").write_text(
        "from human_avatars.compiled_loops import compile_loop\n"
        "from inner_kernels import SIZE, square\n\n"
        "@compile_loop\ndef area():\n    return square(SIZE)\n"
    )

    def area(size: int) -> str:
        (tmp_path / "inner_kernels.py").write_text(
            "from human_avatars.compiled_loops import compile_loop\n\n"
            f"SIZE = {size}\n\n@compile_loop\ndef square(x):\n    return x * x\n"
        )
        call = [sys.executable, "-B", "-c", "from outer_kernels import area; print(area(), len(area.stats.cache_hits))"]
        paths = os.pathsep.join([str(tmp_path), *sys.path])
        result = subprocess.run(
            call, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True
        )
        return result.stdout

    assert area(3) == "9 0\n"
    assert area(3) == "9 1\n"
    assert area(4) == "16 0\n"
