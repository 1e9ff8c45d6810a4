"""Facts of records: what later stages compare over a whole corpus without its texts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.config import NearDuplicates
from llmops_preprocess.near_duplicates import Hashes, bands_of
from llmops_preprocess.parts import part_uri, writing
from llmops_preprocess.record import Record
from llmops_preprocess.splits import place_of
from llmops_shared.store import store_for


@dataclass
class Facts:
    """Of a part, gathered a batch at a time; of each record 28 bytes and a band key of 8 bytes for every band."""

    exact: list[bytes] = field(default_factory=list)
    """16 bytes of a digest of what it says, white space aside."""
    places: list[int] = field(default_factory=list)
    """Where its hash puts it among the splits, out of 2**64."""
    lengths: list[int] = field(default_factory=list)
    """Characters of what it says."""
    bands: list[Hashes] = field(default_factory=list)
    """Its keys in the bands of the near-duplicate search, shape [records, bands]."""

    def add(self, records: Sequence[Record], near: NearDuplicates) -> None:
        """Those of a batch."""
        contents = [record.content for record in records]
        self.exact += [exact_key(content) for content in contents]
        self.places += [place_of(content) for content in contents]
        self.lengths += map(len, contents)
        if near.threshold is not None and contents:
            self.bands.append(bands_of(contents, near))

    def write(self, folder: str, number: int, scratch: Path) -> None:
        """As `exact`, `places`, `lengths` and `bands`, the last with a row for each band."""
        arrays: dict[str, NDArray[Any]] = {
            "exact": np.frombuffer(b"".join(self.exact), dtype=np.uint64).reshape(-1, 2),
            "places": np.array(self.places, dtype=np.uint64),
            "lengths": np.array(self.lengths, dtype=np.int64),
            "bands": np.concatenate(self.bands).T if self.bands else np.zeros((0, 0), dtype=np.uint64),
        }
        for name, array in arrays.items():
            store_array(part_uri(folder, number, f"{name}.npy"), array, scratch)


def exact_key(content: str) -> bytes:
    """Equal of texts that say the same, white space aside."""
    return hashlib.sha256(" ".join(content.split()).encode()).digest()[:16]


def store_array(uri: str, array: NDArray[Any], scratch: Path) -> None:
    """Writes a NumPy file."""
    path = scratch / uri.rpartition("/")[2]
    with writing(path):
        np.save(path, np.ascontiguousarray(array))
    store_for(uri).write(uri, path)


def read_array(folder: str, number: int, name: str) -> NDArray[Any]:
    """A NumPy file of a part, as a view of the file."""
    uri = part_uri(folder, number, f"{name}.npy")
    found: NDArray[Any] = np.load(store_for(uri).fetch(uri), mmap_mode="r")
    return found
