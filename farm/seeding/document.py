"""The document of ``farm seed --json``, however long: rows wait for their place in temporary files."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np

from farm.seeding.flow import Row
from farm.seeding.queueing import Queued
from farm.seeding.report import place_in_queue
from farm.sources import Rejected

# A file is made on the disk when there is more than this.
_IN_MEMORY_BYTES = 1 << 20


class SeedDocument:
    """Collects rows, with at most 16 bytes of memory for each, and writes them as one JSON document."""

    def __init__(self) -> None:
        self._queued, self._skipped, self._rejected = (_Lines() for _ in range(3))
        self._costs_s = array("d")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lines in (self._queued, self._skipped, self._rejected):
            lines.close()

    def add(self, rows: Iterable[Row]) -> None:
        """Take a batch."""
        for row in rows:
            if isinstance(row, Queued):
                self._queued.add(row.to_dict())
                self._costs_s.append(row.predicted_cpu_s)
            elif isinstance(row, Rejected):
                self._rejected.add(vars(row))
            else:
                self._skipped.add({"material": row.material, "reason": row.reason})

    def write(self, stream: TextIO, predicted_cpu_hours: Mapping[int, float]) -> None:
        """Write the document: queued in the order of the queue, the others in that of their source."""
        hours = {str(n): round(hours, 4) for n, hours in predicted_cpu_hours.items()}
        stream.write("{\n")
        for name, rows in (
            ("queued", self._in_queue_order()),
            ("skipped", iter(self._skipped)),
            ("rejected", iter(self._rejected)),
        ):
            stream.write(f' "{name}": [')
            stream.writelines(_separated(rows))
            stream.write("\n ],\n")
        stream.write(f' "predicted_cpu_hours": {json.dumps(hours, allow_nan=False)}\n}}\n')

    def _in_queue_order(self) -> Iterator[dict[str, Any]]:
        costs_s = np.frombuffer(self._costs_s) if self._costs_s else np.empty(0)
        order = np.argsort(costs_s, kind="stable").tolist()
        for _, numbers in groupby(order, key=costs_s.__getitem__):
            same_cost = [Queued.from_dict(self._queued[number]) for number in numbers]
            for row in sorted(same_cost, key=place_in_queue):
                yield {**row.to_dict(), "predicted_cpu_s": round(row.predicted_cpu_s, 2)}


def _separated(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    between = ""
    for row in rows:
        yield f"{between}\n  {json.dumps(row, allow_nan=False)}"
        between = ","


class _Lines:
    """Records as JSON lines in a temporary file, read back in order or by number."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - closed with the document
        self._starts = array("Q")
        self._end = 0

    def add(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        self._file.write(line)
        self._starts.append(self._end)
        self._end += len(line)

    def __getitem__(self, number: int) -> dict[str, Any]:
        self._file.seek(self._starts[number])
        record: dict[str, Any] = json.loads(self._file.readline())
        return record

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        for line in self._file:
            yield json.loads(line)

    def close(self) -> None:
        self._file.close()
