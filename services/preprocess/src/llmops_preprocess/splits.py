"""Splits, by a hash of what a document says: the same document is in the same split in every dataset, text or chat."""

import hashlib

from llmops_preprocess.config import Splits

NAMES = ("train", "validation", "test")


def place_of(content: str) -> int:
    """Where a hash puts a document, from 0 to 2**64."""
    return int.from_bytes(hashlib.sha256(f"split\n{content}".encode()).digest()[:8], "big")


def split_of(content: str, splits: Splits) -> str:
    """The split of a document."""
    return split_at(place_of(content), splits)


def split_at(place: int, splits: Splits) -> str:
    """The split of a place.

    `test` has the lowest hashes, then `validation`, then `train`, so a larger share only adds documents to the test split.
    """
    share = place / 2**64
    if share < splits.test:
        return "test"
    return "validation" if share < splits.test + splits.validation else "train"


def wanted(splits: Splits) -> list[str]:
    """Names of the splits with a share."""
    return [name for name in NAMES if getattr(splits, name) > 0]
