"""Exact duplicates."""

import hashlib
from collections.abc import Sequence

from llmops_preprocess.record import Record, Stage, keep


def drop_exact_duplicates(records: Sequence[Record]) -> Stage:
    """Keeps the first of records that say the same, white space aside."""
    seen: set[str] = set()

    def reason(record: Record) -> str | None:
        key = hashlib.sha256(" ".join(record.content.split()).encode()).hexdigest()
        if key in seen:
            return "exact_duplicate"
        seen.add(key)
        return None

    return keep("exact_duplicates", records, reason)
