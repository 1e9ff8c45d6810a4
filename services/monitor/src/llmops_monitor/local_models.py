"""Local models in place of rules: sentence embeddings for what texts share, a linear model for profanity where it is installed."""

import re
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from llmops_monitor.rules.words import Exchanged
from llmops_monitor.scorers import Scored
from llmops_shared.statistics import Floats

SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


class LocalModels:
    """Relevance and groundedness by cosine similarity; toxicity by alt-profanity-check."""

    def __init__(self, embedder: str) -> None:
        """`embedder` is a sentence-transformers directory. Raises LlmopsError when it cannot be loaded."""
        from llmops_shared.retrieval.sentences import SentenceEmbedder

        self._embedder = SentenceEmbedder(embedder)

    def score(self, exchanges: Sequence[Exchanged]) -> Scored:
        columns: dict[str, Floats] = {}
        prompts = self._embedder.embed([exchange.prompt.content for exchange in exchanges])
        answers = self._embedder.embed([exchange.response.content for exchange in exchanges])
        columns["relevance_to_prompt"] = np.asarray((prompts * answers).sum(axis=1), dtype=np.float64)
        if any(exchange.context is not None for exchange in exchanges):
            found = [self.on_context(prompt, exchange) for prompt, exchange in zip(prompts, exchanges, strict=True)]
            columns["relevance_to_context"] = np.array([relevance for relevance, _ in found])
            columns["groundedness"] = np.array([support for _, support in found])
        if find_spec("profanity_check") is not None:
            columns["toxicity"] = profanity([exchange.response.content for exchange in exchanges])
            columns["prompt_toxicity"] = profanity([exchange.prompt.content for exchange in exchanges])
        return Scored(columns, 0)

    def on_context(self, prompt: "np.ndarray[tuple[int], np.dtype[np.float32]]", exchange: Exchanged) -> tuple[float, float]:
        """How near the best sentence of the context is to the prompt, and on average to the answer's sentences."""
        if exchange.context is None:
            return np.nan, np.nan
        said, given = sentences(exchange.response.content), sentences(exchange.context.content)
        if not given:
            return np.nan, np.nan
        known = self._embedder.embed(given)
        support = float((self._embedder.embed(said) @ known.T).max(axis=1).mean()) if said else np.nan
        return float((known @ prompt).max()), support


def sentences(text: str) -> list[str]:
    """The sentences of a text, at most a hundred."""
    return [sentence for sentence in SENTENCE.split(text) if re.search(r"\w", sentence)][:100]


def profanity(texts: Sequence[str]) -> Floats:
    """Probability of profanity, by a linear model on 200,000 labelled comments."""
    from profanity_check import predict_prob  # type: ignore[import-untyped]

    return np.asarray(predict_prob(list(texts)), dtype=np.float64)
