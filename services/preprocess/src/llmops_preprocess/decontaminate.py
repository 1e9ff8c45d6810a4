"""Decontamination: documents that share runs of words with an evaluation set are no training text (Brown et al. 2020, appendix C)."""

import functools
import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.known_words import WORD
from llmops_preprocess.near_duplicates import shingle
from llmops_preprocess.record import Record, Stage, keep
from llmops_preprocess.row_rules_config import Decontamination
from llmops_shared.documents import sha256
from llmops_shared.errors import LlmopsError
from llmops_shared.store import Entry, store_for

SHORTEST = 5
"""Words of the shortest evaluation text that is compared: shorter ones are in every corpus."""


def decontaminate(records: Sequence[Record], config: Decontamination) -> Stage:
    """Drops as `contaminated` the records with more than `max_matches` different runs of an evaluation set."""
    if not records:
        return keep("decontaminate", records, lambda record: None)
    matches = np.zeros(len(records), dtype=np.int64)
    texts = [record.text for record in records]
    for width, runs in evaluation_runs(config).items():
        shingles, starts = shingle(texts, width)
        found = np.isin(shingles, runs).astype(np.int64)
        matches += np.add.reduceat(found, starts[:-1])
    contaminated = {id(record) for record, number in zip(records, matches.tolist(), strict=True) if number > config.max_matches}
    return keep("decontaminate", records, lambda record: "contaminated" if id(record) in contaminated else None)


@functools.cache
def evaluation_runs(config: Decontamination) -> dict[int, NDArray[np.uint64]]:
    """Hashes of the runs of words of all evaluation texts, sorted, by the words of a run: the setting's, or fewer for short texts."""
    by_width: dict[int, list[str]] = {}
    for uri in config.uris:
        for text in evaluation_texts(uri):
            num_words = len(WORD.findall(text))
            if num_words >= SHORTEST:
                by_width.setdefault(min(num_words, config.ngram_words), []).append(text)
    if not by_width:
        raise LlmopsError(
            f"decontamination.uris {', '.join(config.uris)}: no text of {SHORTEST} words in them; name evaluation sets, or leave them out"
        )
    return {width: np.unique(shingle(texts, width)[0]) for width, texts in sorted(by_width.items())}


def evaluation_texts(uri: str) -> Iterator[str]:
    """Every text of the files at a URI."""
    for entry in evaluation_files(uri):
        content = store_for(entry.uri).read(entry.uri)
        try:
            text = (gzip.decompress(content) if entry.uri.endswith(".gz") else content).decode()
            if ".jsonl" in entry.uri:
                for line in text.splitlines():
                    yield from strings(json.loads(line) if line.strip() else None)
            else:
                yield text
        except (ValueError, OSError, EOFError) as error:
            raise LlmopsError(f"decontamination.uris {entry.uri}: cannot be read ({error}); give JSON lines or plain text") from error


def strings(value: object) -> Iterator[str]:
    """All strings in a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def evaluation_files(uri: str) -> list[Entry]:
    """The files of an evaluation set. Raises LlmopsError when there is none."""
    entries = [entry for entry in store_for(uri).entries(uri) if entry.uri.endswith((".jsonl", ".jsonl.gz", ".txt", ".txt.gz"))]
    if not entries:
        raise LlmopsError(f"decontamination.uris {uri}: holds no .jsonl, .txt or .gz of them; correct the path, or leave it out")
    return entries


def evaluation_digest(uris: Sequence[str]) -> str:
    """A digest over the content of the evaluation sets."""
    lines = [sha256(store_for(entry.uri).fetch(entry.uri)) for uri in uris for entry in evaluation_files(uri)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
