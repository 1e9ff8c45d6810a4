"""Similarity by a local encoder: BERTScore (Zhang et al. 2020) by `bert-score`, and the cosine of sentence embeddings."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from llmops_shared.documents import sha256
from llmops_shared.errors import LlmopsError
from llmops_train.metrics.optional import need, version_of
from llmops_train.metrics.pairs import Pairs
from llmops_train.metrics.scores import Scores, make_scores

KINDS = ("bertscore_f1", "embedding_similarity")


def similarity(kind: str, pairs: Pairs, encoder: str | None) -> Scores:
    """F1 of matched token embeddings, or cosine of the two texts; the best reference counts. `encoder` is a model directory."""
    folder = check_encoder(kind, encoder)
    return bertscore(pairs, folder) if kind == "bertscore_f1" else embedding_similarity(pairs, folder)


def check_encoder(kind: str, encoder: str | None) -> Path:
    """The encoder's folder. Raises LlmopsError when there is none, or it is no model directory."""
    if encoder is None:
        raise LlmopsError(f"{kind}: needs encoder=DIR, an encoder such as all-MiniLM-L6-v2, or leave {kind} out of measures")
    need("bert_score" if kind == "bertscore_f1" else "sentence_transformers", "similarity", kind)
    folder = Path(encoder)
    if not (folder / "config.json").exists():
        raise LlmopsError(f"encoder {encoder}: has no config.json; give the directory of an encoder with its weights")
    return folder


def bertscore(pairs: Pairs, folder: Path) -> Scores:
    """BERTScore F1 by the last layer, without inverse document frequency and without rescaling.

    Comparable only between runs with the same encoder: published figures use roberta-large and another layer.
    """
    from bert_score import BERTScorer

    layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        scorer: Any = BERTScorer(model_type=str(folder), num_layers=layers, idf=False, device="cpu")
        values = scorer.score(list(pairs.predictions), [list(references) for references in pairs.references])[2].tolist()
    signature = f"bert-score:{version_of('bert-score')}|{name(folder)}|layer:{layers}|idf:no|rescaled:no"
    return make_scores("bertscore_f1", pairs.row_ids, values, signature)


def embedding_similarity(pairs: Pairs, folder: Path) -> Scores:
    """Cosine of normalised sentence embeddings, -1 to 1."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    model: Any = SentenceTransformer(str(folder), device="cpu")
    texts = [text for row in zip(pairs.predictions, pairs.references, strict=True) for text in (row[0], *row[1])]
    unique = list(dict.fromkeys(texts))
    vectors = dict(zip(unique, model.encode(unique, normalize_embeddings=True, show_progress_bar=False), strict=True))
    values = [
        max(float(vectors[prediction] @ vectors[reference]) for reference in references)
        for prediction, references in zip(pairs.predictions, pairs.references, strict=True)
    ]
    signature = f"sentence-transformers:{version_of('sentence-transformers')}|{name(folder)}|cosine"
    return make_scores("embedding_similarity", pairs.row_ids, values, signature)


def name(folder: Path) -> str:
    """The encoder by its weights, so that two folders of one model have one signature."""
    weights = sorted(folder.glob("*.safetensors"))
    return f"encoder:{sha256(weights[0])[:12]}" if weights else f"encoder:{folder.name}"
