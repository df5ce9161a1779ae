"""Whatever stands in any field of an entry: it is taken or named, and nothing raises."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interchange_samples import TERMS, changed, computed, entry, same

from farm.interchange.directory import entry_text
from farm.interchange.importing import Imported, import_rows
from farm.interchange.published_entry import is_published
from farm.sources.items import Rejected
from farm.store import StoreWriter, open_store

SAMPLES = (entry(1, "tetragonal"), orjson.loads(entry_text(computed(2, "tetragonal"))))

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([math.nan, 1e308, -1, 0, "", "\ud800", [], {}, [[]], [None], {"": {}}, {"xx": []}]),
    st.recursive(
        st.none() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
)


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Every field of an entry; of a long list its first and last place."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = [(key, item) for key, item in value.items() if key and "." not in key]
    elif isinstance(value, list):
        items = [(i, value[i]) for i in sorted({0, len(value) - 1}) if value]
    for key, item in items:
        yield f"{path}{key}"
        yield from paths(item, f"{path}{key}.")


@pytest.mark.parametrize("sample", SAMPLES, ids=["published", "own"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_it_is_taken_or_named(sample: Any, data: st.DataObject, tmp_path_factory: Any) -> None:
    bad = sample
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(list(paths(bad))))
        bad = changed(bad, path, data.draw(JUNK))
    directory: Path = tmp_path_factory.mktemp("in")
    (directory / "bad.json").write_text(json.dumps(bad))
    with StoreWriter(directory / "spectra.h5") as writer:
        (rows,) = import_rows([directory / "bad.json"], TERMS, {}, writer.append_many)
    (row,) = rows
    assert isinstance(row, Imported | Rejected)
    if isinstance(row, Rejected):
        assert row.reason
        assert row.fix
        return
    with open_store(directory / "spectra.h5") as store:
        result = store.result(0)
    if is_published(result):
        assert same(json.loads(entry_text(result)), json.loads(json.dumps(bad)))
