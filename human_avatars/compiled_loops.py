"""Compiled CPU loops and how they share the cores: plain threads, so that any number of callers may run at once."""

import hashlib
import inspect
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Literal

from human_avatars.one_thread import SMALL_PRODUCTS_ON_ONE_THREAD

FloatFreedom = Literal["contract", "reassoc", "nsz", "arcp", "afn"]
"""What a compiler may do with arithmetic, in LLVM's words; "no NaN" is never granted, because it hides results."""

_pools: dict[int, ThreadPoolExecutor] = {}
"""One pool per number of threads."""


def compile_loop(
    function: Callable[..., Any], freedoms: tuple[FloatFreedom, ...] = ("contract",), inline: bool = False
) -> Callable[..., Any]:
    """Compile a loop over arrays, once per machine; it runs without the interpreter lock.

    numba's own parallel loops are not used: some of its threading layers abort the process when two Python threads, the
    trainer's and the viewer's for instance, run such loops at once. `run_in_parts` shares the work instead.

    Args:
        function: A function of arrays and numbers.
        freedoms: Liberties with arithmetic; fused multiply-add alone by default.
        inline: Whether to paste it into the loops that call it.

    Returns:
        The compiled function.
    """
    from numba import njit

    # Unwrapped, because a type checker's import hook may have wrapped it in a function that cannot be compiled.
    options = {"nogil": True, "cache": True, "fastmath": set(freedoms), "error_model": "numpy"}
    function = inspect.unwrap(function)
    loop: Any = njit(**options, inline="always" if inline else "never")(function)
    # numba compiles anew when the function's own file changes, but loops call loops and read constants of other files:
    # stale ones would write beside their arrays.
    cache_file = loop._cache._cache_file
    cache_file._source_stamp = cache_file._source_stamp, _fingerprint(Path(inspect.getfile(function)).parent)
    return loop


@cache
def _fingerprint(folder: Path) -> str:
    """A digest of all kernels in a folder, and of how they are compiled."""
    digest = hashlib.sha256()
    for path in (Path(__file__), *sorted(folder.glob("*_kernels.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run_in_parts(loop: Callable[..., Any], *arguments: Any) -> None:
    """Run `loop(part, num_parts, *arguments)` for every part at once, one part per torch thread.

    Args:
        loop: A compiled loop that does its part of the work; parts write to places of their own.
        *arguments: What it works on.
    """
    num_parts = SMALL_PRODUCTS_ON_ONE_THREAD.threads_outside()
    futures = [_pool(num_parts).submit(loop, part, num_parts, *arguments) for part in range(1, num_parts)]
    try:
        loop(0, num_parts, *arguments)
    finally:
        # Nobody may still write into the arrays when the caller goes on, after an error either.
        for future in futures:
            future.exception()
    for future in futures:
        future.result()


def _pool(num_threads: int) -> ThreadPoolExecutor:
    if num_threads not in _pools:
        # Two callers may both come here first: the pool that is not kept is collected after its work.
        _pools.setdefault(num_threads, ThreadPoolExecutor(num_threads - 1, thread_name_prefix="compiled-loop"))
    return _pools[num_threads]


if hasattr(os, "register_at_fork"):
    # A forked child inherits the pools but not their threads, and would wait for them forever.
    os.register_at_fork(after_in_child=_pools.clear)
