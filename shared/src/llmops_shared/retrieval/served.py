"""Embedding with a model that somebody serves: texts in batches, several requests at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.lsa import normalise

Floats = NDArray[np.float32]

NUM_REQUESTS = 4  # at a time: a server's queue never runs dry, and its limit is not reached


def embed_batches(ask: Callable[[Sequence[str]], Any], texts: Sequence[str], batch: int, who: str, num_dimensions: int | None) -> Floats:
    """Vectors of length 1, [num_texts, num_dimensions], by calls with at most `batch` texts.

    An empty text gets the zero vector and is not sent. Raises LlmopsError when an answer is no list of vectors of one length.
    """
    wanted = [place for place, text in enumerate(texts) if text.strip()]
    batches = [[texts[place] for place in wanted[start : start + batch]] for start in range(0, len(wanted), batch)]
    if len(batches) > 1:
        with ThreadPoolExecutor(NUM_REQUESTS) as pool:
            answers = list(pool.map(ask, batches))
    else:
        answers = [ask(one) for one in batches]
    given = [vector for answer in answers for vector in answer] if all(isinstance(answer, list) for answer in answers) else []
    try:
        found = np.array(given, dtype=np.float32).reshape(len(given), -1) if given else np.zeros((0, num_dimensions or 0), dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise LlmopsError(f"{who}: gave no vectors of one length ({error}); is a model for embeddings served there?") from error
    if len(found) != len(wanted):
        raise LlmopsError(f"{who}: gave {len(found)} vectors for {len(wanted)} texts; is a model for embeddings served there?")
    if num_dimensions and found.shape[1] != num_dimensions:
        raise LlmopsError(f"{who}: gives {found.shape[1]} dimensions, and the index has {num_dimensions}; serve the model it was made with")
    vectors = np.zeros((len(texts), found.shape[1]), dtype=np.float32)
    vectors[wanted] = found
    return normalise(vectors)
