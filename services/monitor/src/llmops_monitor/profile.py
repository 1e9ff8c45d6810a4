"""The profile of a table: exact counts and moments of each column, and one uniform sample of its rows. Profiles merge.

A sketch of quantiles would shift the error of a test by an amount nobody knows; a sample keeps the tests exact, and 4,000 rows see
every shift that is large enough to matter. A column takes at most 64 KB.
"""

import hashlib
import io
import json
import math
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops_shared.errors import LlmopsError
from llmops_shared.statistics import Floats

MAX_SAMPLED = 4000
"""Rows kept: 32 KB a column of numbers."""
MAX_CATEGORIES = 500
"""Different values of a column of words that are counted one by one; what is rarer is counted together."""
MAX_CATEGORY_LENGTH = 60
OTHER = "(other)"
LARGEST = 1e100
"""A larger number is no measurement, and its square would not be a number."""

Integers = NDArray[np.uint64]
Table = Mapping[str, Sequence[object] | Floats]
"""Column to its values: numbers with NaN, or strings with None, where a value is missing."""


@dataclass
class NumberColumn:
    """A column of numbers."""

    num_missing: int
    mean: float
    squares: float
    """Sum of squared distances to the mean."""
    low: float
    high: float
    sample: Floats
    """Values of the sampled rows, NaN where missing."""

    def merge(self, other: "NumberColumn", num_rows: tuple[int, int], kept: NDArray[np.intp]) -> "NumberColumn":
        """Both together; `kept` are the places of the sampled rows in the two samples put in a row (Chan et al. 1979 for the moments)."""
        mine, theirs = num_rows[0] - self.num_missing, num_rows[1] - other.num_missing
        total = mine + theirs
        delta = other.mean - self.mean
        return NumberColumn(
            self.num_missing + other.num_missing,
            (mine * self.mean + theirs * other.mean) / total if total else 0.0,
            self.squares + other.squares + (delta * delta * mine * theirs / total if total else 0.0),
            min(self.low, other.low),
            max(self.high, other.high),
            np.concatenate([self.sample, other.sample])[kept],
        )


@dataclass
class WordColumn:
    """A column of categories."""

    num_missing: int
    counts: Counter[str]

    def merge(self, other: "WordColumn") -> "WordColumn":
        """Both together."""
        return WordColumn(self.num_missing + other.num_missing, trimmed(self.counts + other.counts))


Column = NumberColumn | WordColumn


@dataclass
class Profile:
    """A table, as far as drift needs it."""

    num_rows: int
    priorities: Integers
    """Of the sampled rows: the smallest of all rows, in order. A row's priority is a hash of its key, so every profile draws alike."""
    columns: dict[str, Column]

    @property
    def sampled(self) -> int:
        """Rows in the sample."""
        return len(self.priorities)

    def merge(self, other: "Profile") -> "Profile":
        """The profile of both tables together, the same whatever the order. Raises LlmopsError where a column has another kind.

        A column that one of them lacks is missing in all of its rows.
        """
        both = np.concatenate([self.priorities, other.priorities])
        kept = np.argsort(both, kind="stable")[:MAX_SAMPLED]
        columns: dict[str, Column] = {}
        for name in {**self.columns, **other.columns}:
            mine, theirs = self.columns.get(name), other.columns.get(name)
            mine = absent(theirs, self) if mine is None else mine
            theirs = absent(mine, other) if theirs is None else theirs
            if isinstance(mine, NumberColumn) and isinstance(theirs, NumberColumn):
                columns[name] = mine.merge(theirs, (self.num_rows, other.num_rows), kept)
            elif isinstance(mine, WordColumn) and isinstance(theirs, WordColumn):
                columns[name] = mine.merge(theirs)
            else:
                raise LlmopsError(f"column {name}: holds numbers in one profile and words in the other; profile both tables anew")
        return Profile(self.num_rows + other.num_rows, both[kept], columns)

    def to_bytes(self) -> bytes:
        """As a file of NumPy arrays; equal profiles have equal bytes."""
        header: dict[str, Any] = {"version": 1, "num_rows": self.num_rows, "columns": {}}
        arrays: dict[str, NDArray[Any]] = {"priorities": self.priorities}
        for place, (name, column) in enumerate(self.columns.items()):
            if isinstance(column, NumberColumn):
                facts = [column.num_missing, column.mean, column.squares, column.low, column.high]
                header["columns"][name] = {"numbers": [None if not math.isfinite(fact) else fact for fact in facts], "place": place}
                arrays[f"column{place}"] = column.sample
            else:
                header["columns"][name] = {"num_missing": column.num_missing, "counts": sorted(column.counts.items())}
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()


def from_bytes(content: bytes, uri: str) -> Profile:
    """Reads `to_bytes`. Raises LlmopsError, with the URI, for anything else."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            columns: dict[str, Column] = {}
            for name, facts in header["columns"].items():
                if "numbers" in facts:
                    missing, mean, squares, low, high = facts["numbers"]
                    low, high = (math.inf if low is None else low), (-math.inf if high is None else high)
                    columns[name] = NumberColumn(int(missing), mean, squares, low, high, arrays[f"column{facts['place']}"])
                else:
                    columns[name] = WordColumn(facts["num_missing"], Counter(dict(facts["counts"])))
            return Profile(header["num_rows"], arrays["priorities"], columns)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise LlmopsError(f"{uri}: is no profile ({type(error).__name__}); make it again with llmops-monitor profile") from error


def profile_table(table: Table, keys: Sequence[str] | None = None, seed: int = 0) -> Profile:
    """The profile of a table; `keys` names its rows, so that the same row gets the same priority in every profile.

    Raises LlmopsError for columns of different lengths.
    """
    lengths = {name: len(values) for name, values in table.items()}
    if len(set(lengths.values())) > 1:
        raise LlmopsError(f"columns have different lengths ({', '.join(f'{name} {length}' for name, length in lengths.items())})")
    num_rows = next(iter(lengths.values()), 0)
    if keys is None:
        priorities = np.random.default_rng(seed).integers(0, 2**64, num_rows, dtype=np.uint64)
    else:
        priorities = np.fromiter((priority_of(key) for key in keys), np.uint64, num_rows)
    kept = np.argpartition(priorities, MAX_SAMPLED)[:MAX_SAMPLED] if num_rows > MAX_SAMPLED else np.arange(num_rows)
    kept = kept[np.argsort(priorities[kept], kind="stable")]
    return Profile(num_rows, priorities[kept], {name: profile_column(values, kept) for name, values in table.items()})


def profile_column(values: Sequence[object] | Floats, kept: NDArray[np.intp]) -> Column:
    """One column; numbers where every value that is there is a number."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return profile_numbers(values.astype(np.float64, copy=False), kept)
    present = [value for value in values if not missing(value)]
    if all(isinstance(value, (int, float)) for value in present):
        numbers = np.array([math.nan if missing(value) else float(value) for value in values], dtype=np.float64)  # type: ignore[arg-type]
        return profile_numbers(numbers, kept)
    counts = Counter(str(value)[:MAX_CATEGORY_LENGTH] for value in present)
    return WordColumn(len(values) - len(present), trimmed(counts))


def profile_numbers(values: Floats, kept: NDArray[np.intp]) -> NumberColumn:
    """Moments over all rows that have a value; one that is infinite or beyond LARGEST counts as missing."""
    sample, num_rows = values[kept], len(values)
    low, high = (float(values.min()), float(values.max())) if num_rows else (math.inf, -math.inf)
    if num_rows and not (low >= -LARGEST and high <= LARGEST):  # one NaN makes both NaN
        values = values[np.abs(values) <= LARGEST]
        sample = np.where(np.abs(sample) <= LARGEST, sample, np.nan)
        low, high = (float(values.min()), float(values.max())) if len(values) else (math.inf, -math.inf)
    num_values = len(values)
    if not num_values:
        return NumberColumn(num_rows, 0.0, 0.0, math.inf, -math.inf, sample)
    mean = float(values.sum()) / num_values
    # no product of BLAS, whose threads cost more than they save on a column
    squares = float(np.square(values - mean).sum())
    return NumberColumn(num_rows - num_values, mean, squares, low, high, sample)


def missing(value: object) -> bool:
    """None, NaN and infinity."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def absent(like: Column | None, profile: Profile) -> Column:
    """A column that has no value in any row of the profile."""
    if isinstance(like, WordColumn):
        return WordColumn(profile.num_rows, Counter())
    return NumberColumn(profile.num_rows, 0.0, 0.0, math.inf, -math.inf, np.full(profile.sampled, np.nan))


def trimmed(counts: Counter[str]) -> Counter[str]:
    """The most frequent values, and the rest as one."""
    if len(counts) <= MAX_CATEGORIES:
        return counts
    kept = sorted(counts.items(), key=lambda item: (item[0] == OTHER, -item[1], item[0]))[: MAX_CATEGORIES - 1]
    left = sum(counts.values()) - sum(count for _, count in kept)
    return Counter({**dict(kept), OTHER: left})


def priority_of(key: str) -> int:
    """64 bits of a hash of the row's key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
