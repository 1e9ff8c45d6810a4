"""Local models in place of rules: embeddings for what texts share, entailment for what follows, a linear model for profanity."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from llmops_monitor.entailment import LABEL, Entailment
from llmops_monitor.rules.words import Exchanged
from llmops_monitor.scorers import Scored
from llmops_monitor.sentences import sentences
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.sentences import SentenceEmbedder, model_folder
from llmops_shared.statistics import Floats


class LocalModels:
    """What the models given can judge; toxicity by alt-profanity-check where it is installed."""

    def __init__(self, models: str, has_contexts: bool = True) -> None:
        """`models` is a model's directory, or two with a comma. Raises LlmopsError when one cannot be loaded, or would judge nothing."""
        self._embedder: SentenceEmbedder | None = None
        self._entailment: Entailment | None = None
        for model in models.split(","):
            folder = model_folder(model)
            if entails(folder, model) and not has_contexts:
                raise LlmopsError(f"judge={model}: judges groundedness, and that needs index=, for the texts of what was retrieved")
            if entails(folder, model) and self._entailment is None:
                self._entailment = Entailment(folder)
            elif not entails(folder, model) and self._embedder is None:
                self._embedder = SentenceEmbedder(model)
            else:
                raise LlmopsError(
                    f"judge={models}: names two models of one kind; give one of embeddings, one of entailment, or one of each"
                )

    def score(self, exchanges: Sequence[Exchanged]) -> Scored:
        columns: dict[str, Floats] = {}
        if self._embedder is not None:
            columns |= relevance(self._embedder, exchanges)
        if self._entailment is not None and any(exchange.context is not None for exchange in exchanges):
            columns["groundedness"] = self._entailment.groundedness(exchanges)
        if find_spec("profanity_check") is not None:
            columns["toxicity"] = profanity([exchange.response.content for exchange in exchanges])
            columns["prompt_toxicity"] = profanity([exchange.prompt.content for exchange in exchanges])
        return Scored(columns, 0)


def entails(folder: Path, model: str) -> bool:
    """Whether a directory holds a classifier with the label entailment; if not, a model of embeddings. Raises LlmopsError for any other."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    labels = [str(label) for label in config.get("id2label", {}).values()]
    if any(label.casefold() == LABEL for label in labels):
        return True
    if (folder / "modules.json").exists():
        return False
    kind = f"a classifier of {', '.join(labels)}" if labels else " and ".join(config.get("architectures", [])) or "no model of Transformers"
    raise LlmopsError(
        f"judge={model}: holds {kind}; give a directory of sentence-transformers (modules.json) for relevance and groundedness by "
        f"embeddings, or a classifier with the label {LABEL} for groundedness"
    )


def relevance(embedder: SentenceEmbedder, exchanges: Sequence[Exchanged]) -> dict[str, Floats]:
    """Relevance and groundedness by cosine similarity."""
    prompts = embedder.embed([exchange.prompt.content for exchange in exchanges])
    answers = embedder.embed([exchange.response.content for exchange in exchanges])
    columns: dict[str, Floats] = {"relevance_to_prompt": np.asarray((prompts * answers).sum(axis=1), dtype=np.float64)}
    if any(exchange.context is not None for exchange in exchanges):
        found = [on_context(embedder, prompt, exchange) for prompt, exchange in zip(prompts, exchanges, strict=True)]
        columns["relevance_to_context"] = np.array([relevance for relevance, _ in found])
        columns["groundedness"] = np.array([support for _, support in found])
    return columns


def on_context(
    embedder: SentenceEmbedder, prompt: "np.ndarray[tuple[int], np.dtype[np.float32]]", exchange: Exchanged
) -> tuple[float, float]:
    """How near the best sentence of the context is to the prompt, and on average to the answer's sentences."""
    if exchange.context is None:
        return np.nan, np.nan
    said, given = sentences(exchange.response.content), sentences(exchange.context.content)
    if not given:
        return np.nan, np.nan
    known = embedder.embed(given)
    support = float((embedder.embed(said) @ known.T).max(axis=1).mean()) if said else np.nan
    return float((known @ prompt).max()), support


def profanity(texts: Sequence[str]) -> Floats:
    """Probability of profanity, by a linear model on 200,000 labelled comments."""
    from profanity_check import predict_prob  # type: ignore[import-untyped]

    return np.asarray(predict_prob(list(texts)), dtype=np.float64)
