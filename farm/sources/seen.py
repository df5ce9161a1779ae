"""Which crystals have come already, in about 50 bytes each: a database has millions."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from hashlib import blake2b

_FIRST_SLOTS = 1024


class Seen:
    """The crystals taken so far, by content and by id.

    A dict of ids by content hash and a set of ids take 250 bytes a crystal. Here both lie one behind the
    other in arrays, and two hash tables hold their numbers, 4 bytes each.

    Ids are compared whole. Contents are the same when 64 bits of their hashes are: among a million
    crystals two different ones are taken for the same with a probability of 3e-8.
    """

    def __init__(self) -> None:
        self._contents = array("Q")
        self._ids = bytearray()
        self._ends = array("Q")  # of each id
        self._by_content = _Table(self._contents.__getitem__)
        self._by_id = _Table(lambda number: _hash(self._id(number)))

    def __len__(self) -> int:
        return len(self._contents)

    def same_content(self, content_hash: str) -> str | None:
        """The id of the crystal with this content (hexadecimal hash), None where there is none."""
        content = _first_bits(content_hash)
        candidates = self._by_content.candidates(content)
        return next((self._id(n).decode() for n in candidates if self._contents[n] == content), None)

    def has_id(self, material_id: str) -> bool:
        """Whether a crystal of this id was taken."""
        name = material_id.encode()
        return any(self._id(number) == name for number in self._by_id.candidates(_hash(name)))

    def add(self, material_id: str, content_hash: str) -> None:
        """Take a crystal."""
        name, content = material_id.encode(), _first_bits(content_hash)
        self._contents.append(content)
        self._ids += name
        self._ends.append(len(self._ids))
        self._by_content.add(content, len(self) - 1)
        self._by_id.add(_hash(name), len(self) - 1)

    def _id(self, number: int) -> bytes:
        start = self._ends[number - 1] if number else 0
        return bytes(self._ids[start : self._ends[number]])


class _Table:
    """Numbers 0, 1, 2... by a hash: open addressing, linear probing, at most two thirds full.

    hash_of: the hash of a number that was added
    """

    def __init__(self, hash_of: Callable[[int], int]) -> None:
        self._hash_of = hash_of
        self._n_numbers = 0
        self._slots = _empty(_FIRST_SLOTS)

    def candidates(self, hash_value: int) -> Iterator[int]:
        """The numbers that may have this hash: the caller compares."""
        slot = hash_value % len(self._slots)
        while stored := self._slots[slot]:
            yield stored - 1
            slot = (slot + 1) % len(self._slots)

    def add(self, hash_value: int, number: int) -> None:
        self._n_numbers += 1
        if 3 * self._n_numbers > 2 * len(self._slots):
            old, self._slots = self._slots, _empty(2 * len(self._slots))
            for stored in old:
                if stored:
                    self._put(self._hash_of(stored - 1), stored)
        self._put(hash_value, number + 1)  # 0 is an empty slot

    def _put(self, hash_value: int, stored: int) -> None:
        slot = hash_value % len(self._slots)
        while self._slots[slot]:
            slot = (slot + 1) % len(self._slots)
        self._slots[slot] = stored


def _empty(n_slots: int) -> array[int]:
    return array("I", bytes(4 * n_slots))


def _first_bits(content_hash: str) -> int:
    return int(content_hash[:16], 16)


def _hash(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big")
