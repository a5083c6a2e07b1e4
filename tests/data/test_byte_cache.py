"""The cache's budget and order."""

from human_avatars.data.byte_cache import ByteCache


def test_the_least_recently_used_value_goes_first() -> None:
    made: list[int] = []

    def make(key: int) -> bytes:
        made.append(key)
        return bytes(10)

    cache: ByteCache[bytes] = ByteCache(20, len)
    for key in (1, 2, 1, 3, 1, 2):
        cache.get(key, make)
    assert made == [1, 2, 3, 2]
    assert cache.num_bytes == 20


def test_a_value_beyond_the_budget_is_given_but_not_kept() -> None:
    cache: ByteCache[bytes] = ByteCache(5, len)
    assert cache.get(0, lambda key: bytes(6)) == bytes(6)
    assert cache.num_bytes == 0
