"""yambo inputs are generated, read back, and shared by ranks."""

from __future__ import annotations

from typing import Any

import pytest

from farm.errors import CalculationError
from workers.yambo import inputs
from workers.yambo.inputs import RUNLEVELS, YamboInput, parse_input
from workers.yambo.keywords import misspelt, read_values
from workers.yambo.layout import Layout


@pytest.fixture
def asked() -> YamboInput:
    """A response of diamond along x."""
    return YamboInput(gmax_mry=2000, direction=(1.0, 0.0, 0.0), nbnd=10)


def test_text_reads_back(asked: YamboInput) -> None:
    runlevels, entries = parse_input(asked.text())
    assert runlevels == RUNLEVELS
    assert entries == asked.entries()
    assert entries["NGsBlkXd"] == (2000, "mRy")
    assert entries["EnRngeXd"] == (0.0, 20.0, "eV")
    assert entries["LongDrXd"] == (1.0, 0.0, 0.0)
    assert entries["GrFnTpXd"] == "T"
    assert not {"X_CPU", "PAR_def_mode", "X_Threads"} & entries.keys()


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"green_function": "retarded"}, "GrFnTpXd", "R"),
        ({"damping_ev": 0.1}, "DmRngeXd", (0.1, 0.1, "eV")),
        ({"n_energies": 101}, "ETStpsXd", 101),
        ({"layout": Layout(ranks=4, k=2, c=2, v=1)}, "X_CPU", "1 1 2 2 1"),
        ({"layout": Layout(ranks=4, k=2, c=2, v=1)}, "DIP_CPU", "2 2 1"),
        ({"layout": Layout(ranks=4, mode="memory")}, "PAR_def_mode", "memory"),
        ({"layout": Layout(threads=4)}, "X_Threads", 4),
    ],
)
def test_changes_reach_the_text(
    asked: YamboInput, changes: dict[str, Any], key: str, value: object
) -> None:
    _, entries = parse_input(asked.evolve(**changes).text())
    assert entries[key] == value


def test_every_keyword_is_one_of_yambos(asked: YamboInput) -> None:
    layout = Layout(ranks=4, threads=2, k=2, c=2, v=1)
    assert list(misspelt(read_values(asked.evolve(layout=layout).text()))) == []


def test_keyword_that_got_lost_is_noticed(asked: YamboInput, monkeypatch: pytest.MonkeyPatch) -> None:
    written = inputs._lines
    monkeypatch.setattr(inputs, "_lines", lambda key, e: [] if key == "NGsBlkXd" else written(key, e))
    with pytest.raises(CalculationError, match="did not read back"):
        asked.text()


@pytest.mark.parametrize("text", ["optics\nhello world\n", "% BndsRnXd\n 1 | 10 |\n"])
def test_text_that_is_no_input_is_refused(text: str) -> None:
    with pytest.raises(CalculationError):
        parse_input(text)
