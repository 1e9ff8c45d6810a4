"""Splits, by a hash of what a document says: the same document is in the same split in every dataset, text or chat."""

import hashlib

from llmops_preprocess.config import Splits

NAMES = ("train", "validation", "test")


def split_of(content: str, splits: Splits) -> str:
    """The split of a document.

    `test` has the lowest hashes, then `validation`, then `train`, so a larger share only adds documents to the test split.
    """
    place = int.from_bytes(hashlib.sha256(f"split\n{content}".encode()).digest()[:8], "big") / 2**64
    if place < splits.test:
        return "test"
    return "validation" if place < splits.test + splits.validation else "train"


def wanted(splits: Splits) -> list[str]:
    """Names of the splits with a share."""
    return [name for name in NAMES if getattr(splits, name) > 0]
