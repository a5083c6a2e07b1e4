"""A cache that keeps the most recently used values within a budget of bytes."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteCache(Generic[T]):
    """Values by integer key, the least recently used dropped first; safe to share between threads.

    Args:
        budget: Bytes that may be held.
        size_of: Bytes of one value.
    """

    def __init__(self, budget: int, size_of: Callable[[T], int]) -> None:
        self.budget = budget
        self.num_bytes = 0
        self._size_of = size_of
        self._values: OrderedDict[int, T] = OrderedDict()
        self._lock = Lock()

    def get(self, key: int, make: Callable[[int], T]) -> T:
        """The value of a key, made where it is not held.

        Args:
            key: The key.
            make: Makes the value from the key; may run twice when two threads ask at once.

        Returns:
            The value.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make(key)
        with self._lock:
            if key not in self._values:
                self._values[key] = value
                self.num_bytes += self._size_of(value)
            while self.num_bytes > self.budget:
                _, dropped = self._values.popitem(last=False)
                self.num_bytes -= self._size_of(dropped)
        return value
