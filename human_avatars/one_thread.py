"""Many small matrix products on one thread, because sharing each of them costs more than it saves."""

import threading
from types import TracebackType

import torch


class OneThread:
    """A block in which torch's products run on the calling thread alone.

    A training step has thousands of small products. Shared among threads, each ends in a wait that spins, and beside
    any other busy process one step then takes seconds. OpenMP keeps the number per thread or for the whole process,
    depending on what a thread ran before. So it is remembered when nobody is inside, and everyone who leaves restores
    what was remembered: in whatever order threads come and go, none is left with one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._threads_outside = 1

    def threads_outside(self) -> int:
        """Threads that work may use which is shared in another way: torch's, as it is set when nobody is inside."""
        with self._lock:
            return self._threads_outside if self._inside > 0 else torch.get_num_threads()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._threads_outside = torch.get_num_threads()
            self._inside += 1
            torch.set_num_threads(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            torch.set_num_threads(self._threads_outside)


SMALL_PRODUCTS_ON_ONE_THREAD = OneThread()
"""The one instance, since the setting is the process's own."""
