import hashlib
import tracemalloc

import numpy as np

from farm.sources.seen import Seen


def content(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_it_answers_as_a_dict_and_a_set_would():
    rng = np.random.default_rng(3)
    seen, by_content, ids = Seen(), {}, set()
    for _ in range(20_000):  # through several doublings of the tables
        name, digest = f"agm{rng.integers(9000)}", content(rng.integers(9000))
        assert seen.same_content(digest) == by_content.get(digest)
        assert seen.has_id(name) == (name in ids)
        if digest not in by_content and name not in ids:
            seen.add(name, digest)
            by_content[digest] = name
            ids.add(name)
    assert len(seen) == len(ids) > 4000
    assert not seen.has_id("agm")


def test_a_million_crystals_would_fit():
    n = 50_000
    rows = [(f"agm{i:09d}", content(i)) for i in range(n)]
    tracemalloc.start()
    seen = Seen()
    for row in rows:
        seen.add(*row)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / n < 70
