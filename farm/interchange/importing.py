"""Results out of files into a store, batch by batch; what it holds already is left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from farm.errors import ResultRefusedError
from farm.interchange.entry_files import entry_files
from farm.interchange.reading import Answer, Candidate, digest_in, read_files, read_large
from farm.interchange.terms import Terms
from farm.job import Outcome
from farm.processes import map_batches
from farm.result import Result
from farm.sources.items import Rejected, Skipped
from farm.store import open_store

# Of a large file: as many as the store writes at once.
_BATCH = 64
_FINAL = (Outcome.DONE, Outcome.METAL)

Key = tuple[str, str, str]
# (material id, protocol hash, engine) -> outcome, and the digest of what was imported; None: computed.
Held = dict[Key, tuple[Outcome, str | None]]


@dataclass(frozen=True)
class Imported:
    """One result that is in the store now, or would be."""

    material: str
    formula: str
    protocol_hash: str
    engine: str
    outcome: Outcome


Row = Imported | Skipped | Rejected
# Stores results, the number that was new; as StoreWriter.append_many.
Append = Callable[[Iterable[Result]], int]


def read_held(path: Path) -> Held:
    """What a store holds; nothing where there is none. Raises StoreError where it cannot be read."""
    if not path.is_file():
        return {}
    with open_store(path) as store:
        digests = (digest_in(json.loads(origin)) if origin else None for (origin,) in store.texts("origin"))
        return {
            (row.material_id, row.protocol_hash, row.engine.value): (row.outcome, digest)
            for row, digest in zip(store.rows(), digests, strict=True)
        }


def import_rows(
    paths: Sequence[Path],
    terms: Terms,
    held: Held,
    append: Append | None,
    *,
    n_processes: int = 1,
    told_of: Callable[[int], None] = lambda _: None,
) -> Generator[list[Row], None, None]:
    """Import what files hold; what became of each entry, in their order and a batch at a time.

    A batch is in the store when its rows come out. Stopped or killed anywhere, the same call goes on: what
    is held is skipped.

    held:     what the store holds; what comes in is added
    append:   None: nothing is stored, and told as if it were
    told_of:  is given the bytes of the files that were read, as they lie on the disk

    Raises StoreError where the store cannot be written and ResourceError for a process that died; the
    batches before are stored.
    """
    sorter = _Sorter(held, append)
    for answers in _answers(paths, terms, n_processes, told_of):
        yield sorter.sort(answers)


def _answers(
    paths: Sequence[Path], terms: Terms, n_processes: int, told_of: Callable[[int], None]
) -> Iterator[list[Answer]]:
    """What files hold, a batch at a time."""
    with closing(map_batches(partial(read_files, terms=terms), entry_files(paths), n_processes)) as batches:
        for files in batches:
            small: list[Answer] = []
            for file in files:
                if file.answers is None:
                    yield from _cut(read_large(file.path, terms))
                else:
                    small += file.answers
            told_of(sum(file.n_bytes for file in files))
            yield small


def _cut(answers: Iterator[Answer]) -> Iterator[list[Answer]]:
    while batch := list(islice(answers, _BATCH)):
        yield batch


class _Sorter:
    """Takes each result once, and none that the store holds."""

    def __init__(self, held: Held, append: Append | None) -> None:
        self._held = held
        self._append = append
        self._here: set[Key] = set()
        self._retried: set[Key] = set()

    def sort(self, answers: Iterable[Answer]) -> list[Row]:
        """Store what is new; what became of each."""
        rows: list[Row | Candidate] = [self._judged(answer) for answer in answers]
        new = [row for row in rows if isinstance(row, Candidate)]
        stored = self._store(new)
        return [stored[row.key] if isinstance(row, Candidate) else row for row in rows]

    def _judged(self, answer: Answer) -> Row | Candidate:
        """The candidate itself where it may be stored."""
        if isinstance(answer, Rejected):
            return answer
        held = self._held.get(answer.key)
        is_here = answer.key in self._here
        if held is not None:
            outcome, digest = held
            if answer.digest == digest:
                kind = "given twice" if is_here else "in the store already"
                return Skipped(answer.material, kind)
            if is_here:
                return _refused(answer, "came before with other content", "Keep one of the two")
            if outcome in _FINAL and digest is None:
                return Skipped(answer.material, "in the store already, computed or exported by a farm")
            if outcome in _FINAL:
                fix = "Leave it out, or import it into another farm"
                return _refused(answer, "is in the store with other content", fix)
            # It ended without a final answer, which this one may be: the store decides.
            self._retried.add(answer.key)
        self._held[answer.key] = (answer.outcome, answer.digest)
        self._here.add(answer.key)
        return answer

    def _store(self, candidates: Sequence[Candidate]) -> dict[Key, Row]:
        """Store what was judged good; what became of each."""
        if self._append is None:
            return {candidate.key: _imported(candidate) for candidate in candidates}
        at_once = [candidate for candidate in candidates if candidate.key not in self._retried]
        try:
            self._append(Result.unpack(candidate.packed) for candidate in at_once)
        except ResultRefusedError:  # one of them spoils the batch
            return {candidate.key: self._store_one(candidate) for candidate in candidates}
        rows: dict[Key, Row] = {candidate.key: _imported(candidate) for candidate in at_once}
        for candidate in candidates:
            if candidate.key in self._retried:
                rows[candidate.key] = self._store_one(candidate)
        return rows

    def _store_one(self, candidate: Candidate) -> Row:
        assert self._append is not None  # noqa: S101  # for the type checker
        try:
            is_new = self._append([Result.unpack(candidate.packed)])
        except ResultRefusedError as error:
            del self._held[candidate.key]
            return Rejected(candidate.source, error.message, error.fix)
        if not is_new and candidate.key in self._retried:
            return Skipped(candidate.material, "in the store already")
        return _imported(candidate)


def _imported(candidate: Candidate) -> Imported:
    return Imported(
        material=candidate.material,
        formula=candidate.formula,
        protocol_hash=candidate.protocol_hash,
        engine=candidate.engine.value,
        outcome=candidate.outcome,
    )


def _refused(candidate: Candidate, what: str, fix: str) -> Rejected:
    return Rejected(candidate.source, f"field data.mat_id: {candidate.material} {what}", fix)
