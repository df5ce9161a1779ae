"""The truth of what is done: results in one HDF5 file, one writer, any number of readers."""

from farm.store.reader import Store, open_store
from farm.store.row import StoreCounts, StoredRow
from farm.store.writer import StoreWriter

__all__ = ["Store", "StoreCounts", "StoreWriter", "StoredRow", "open_store"]
