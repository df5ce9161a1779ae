"""Many structures: batch by batch, in several processes, in the same order and with the same report."""

from __future__ import annotations

import io
import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from seed_samples import entry, write_entries

from farm.backlog import Backlog
from farm.cost import cost_prior
from farm.cost_model import CostModel, model_key
from farm.crystal import Crystal
from farm.errors import ResourceError
from farm.job import JobState
from farm.processes import ALONE, BATCH, map_batches
from farm.protocol import PRESETS
from farm.seeding import Queued, Queueing, SeedDocument, SeedReport, Terms, seed_rows
from farm.seeding.report import place_in_queue
from farm.sources import Filters, Rejected, Skipped, Unparsed, cut_source, read_source
from farm.stage import Stage

Run = Callable[..., tuple[int, str, str]]

TERMS = Terms(filters=Filters(), protocol=PRESETS["demo"])
# Enough that processes are started, and some batches are in flight.
MANY = (ALONE + 3) * BATCH + 17


def doubled(numbers: list[int]) -> list[int]:
    return [2 * number for number in numbers]


def process_ids(numbers: list[int]) -> list[int]:
    return [os.getpid() for _ in numbers]


def killed_at_500(numbers: list[int]) -> list[int]:
    if 500 in numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    return numbers


def mixed_source(path: Path) -> Path:
    """Of 717 entries every 10th is magnetic, every 7th the same crystal as the first."""
    entries = [entry(n, total_mag=1.0 if n % 10 == 3 else 0.0) for n in range(MANY)]
    for n in range(7, MANY, 7):
        entries[n]["structure"] = entries[0]["structure"]
    return write_entries(path, entries)


def test_answers_of_processes_come_in_order() -> None:
    assert [n for answers in map_batches(doubled, range(MANY), 2) for n in answers] == list(
        range(0, 2 * MANY, 2)
    )


def test_few_items_need_no_processes() -> None:
    few = [n for answers in map_batches(process_ids, range(ALONE * BATCH), 2) for n in answers]
    assert set(few) == {os.getpid()}
    many = [n for answers in map_batches(process_ids, range(MANY), 2) for n in answers]
    assert os.getpid() in many[: ALONE * BATCH]
    assert os.getpid() not in many[ALONE * BATCH :]
    alone = [n for answers in map_batches(process_ids, range(MANY), 1) for n in answers]
    assert set(alone) == {os.getpid()}


def test_items_are_taken_no_faster_than_answers() -> None:
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    answers = map_batches(doubled, source(), 2)
    for n_batches in range(1, 30):
        next(answers)
        assert taken <= (n_batches + 6) * BATCH
    answers.close()


def test_a_process_that_dies_is_one_clear_error() -> None:
    came: list[int] = []
    with pytest.raises(ResourceError, match="a process that parses structures died"):
        came.extend(n for answers in map_batches(killed_at_500, range(MANY), 2) for n in answers)
    assert came == list(range(len(came)))
    assert ALONE * BATCH <= len(came) <= 500


def test_processes_change_nothing(tmp_path: Path) -> None:
    path = mixed_source(tmp_path / "x.json.bz2")
    alone, together = (
        [r for rows in seed_rows(cut_source(path), TERMS, n_processes=n) for r in rows] for n in (1, 2)
    )
    assert alone == together
    assert len(alone) == MANY
    assert {type(row) for row in alone} == {Queued, Skipped, Rejected}
    assert Skipped("m14", "the same crystal as m0") in alone
    report = SeedReport()
    report.add(alone)
    assert report.skipped == {"the same crystal as another": report.n_skipped}
    assert report.n_queued + report.n_skipped + report.n_rejected == MANY
    queued = sorted((row for row in alone if isinstance(row, Queued)), key=place_in_queue)
    assert report.cheapest == queued[: len(report.cheapest)]
    assert len(report.cheapest) == 20


def test_jobs_are_queued_before_the_source_ends(backlog: Backlog, tmp_path: Path) -> None:
    entries = list(cut_source(write_entries(tmp_path / "x.json.bz2", [entry(n) for n in range(2 * BATCH)])))

    def source() -> Iterator[Unparsed]:
        for n, item in enumerate(entries):
            if n > BATCH:
                assert backlog.counts()[JobState.READY] == BATCH
            assert isinstance(item, Unparsed)
            yield item

    batches = list(seed_rows(source(), TERMS, queueing=Queueing(backlog)))
    assert [len(rows) for rows in batches] == [BATCH, BATCH]
    queued = [row for rows in batches for row in rows if isinstance(row, Queued)]
    order = [job_id.split(".")[0] for job_id in backlog.ready_order()]
    assert order == [
        row.material for row in sorted(queued, key=lambda row: (row.predicted_cpu_s, row.material + "."))
    ]


def test_the_limit_ends_the_reading_in_the_middle_of_a_batch(backlog: Backlog, tmp_path: Path) -> None:
    path = write_entries(tmp_path / "x.json.bz2", [entry(n) for n in range(3 * BATCH)])
    terms = replace(TERMS, filters=Filters(limit=BATCH + 5))
    rows = [
        row for batch in seed_rows(cut_source(path), terms, queueing=Queueing(backlog)) for row in batch
    ]
    assert [row.material for row in rows if isinstance(row, Queued)] == [f"m{n}" for n in range(BATCH + 5)]
    assert backlog.counts()[JobState.READY] == BATCH + 5
    assert list(seed_rows(cut_source(path), replace(TERMS, filters=Filters(limit=0)))) == []


def test_what_the_backlog_or_the_store_knows_is_skipped(backlog: Backlog, tmp_path: Path) -> None:
    path = write_entries(tmp_path / "x.json.bz2", [entry(n) for n in range(4)])
    first = replace(TERMS, filters=Filters(limit=1))
    list(seed_rows(cut_source(path), first, queueing=Queueing(backlog)))
    held = frozenset({f"m1.{TERMS.protocol.hash[:12]}.native"})
    (rows,) = seed_rows(cut_source(path), TERMS, queueing=Queueing(backlog), held_job_ids=held)
    assert rows[:2] == [Skipped("m0", "ready in this farm already"), Skipped("m1", "in the store already")]
    assert [row.material for row in rows[2:] if isinstance(row, Queued)] == ["m2", "m3"]


def test_costs_are_predicted_with_what_measured_jobs_taught(run: Run, backlog: Backlog) -> None:
    def predicted_s(*flags: str) -> dict[str, float]:
        told = json.loads(run("seed", "--protocol", "demo", "--json", *flags)[1])
        return {job["material"]: job["predicted_cpu_s"] for job in told["queued"]}

    before = predicted_s("--dry-run")
    model = CostModel()
    for crystal in read_source(None):
        assert isinstance(crystal, Crystal)
        prior = cost_prior(crystal, PRESETS["demo"])
        model = model.observe(prior, dict(zip(Stage, (3 * s for s in prior.cpu_s), strict=True)))
    backlog.set_cost_model(model_key("native", PRESETS["demo"].hash), model)
    after = predicted_s()
    assert len(after) == 20
    assert all(2 < after[material] / before[material] < 3.2 for material in after)


@pytest.mark.parametrize("n_rows", [0, 3, 30_000])
def test_the_document_is_in_the_order_of_the_queue(
    n_rows: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    costs_s = [float((7919 * n) % 1000) for n in range(n_rows)]  # many are equal
    rows = [Queued(f"m{n}", "MgO", 2, cost_s) for n, cost_s in enumerate(costs_s)]
    with SeedDocument() as document:
        document.add(rows)
        document.add([Skipped("s", "why", "kind"), Rejected("f", 'a "reason"', "fix")])
        stream = io.StringIO()
        document.write(stream, {2: 1.23456})
    told = json.loads(stream.getvalue())
    assert told["queued"] == [row.to_dict() for row in sorted(rows, key=place_in_queue)]
    assert told["skipped"] == [{"material": "s", "reason": "why"}]
    assert told["rejected"] == [{"source": "f", "reason": 'a "reason"', "fix": "fix"}]
    assert told["predicted_cpu_hours"] == {"2": 1.2346}
    assert list(tmp_path.iterdir()) == []


def test_the_report_counts_rejections_by_kind_and_keeps_the_first() -> None:
    report = SeedReport(n_kept=3)
    report.add(Rejected(f"f, m{n}", f"{2 * n + 1} electrons", "odd") for n in range(1000))
    report.add([Rejected("g", "not a CIF", "look")])
    assert [item.source for item in report.first_rejected] == ["f, m0", "f, m1", "f, m2"]
    assert report.rejected == {"odd": 1000, "look": 1}
    assert report.examples["look"].source == "g"
