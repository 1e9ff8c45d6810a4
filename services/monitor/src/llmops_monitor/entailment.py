"""Groundedness by natural language inference: how far the context entails each sentence of an answer (SummaC, Laban et al. 2022)."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmops_monitor.rules.words import Exchanged
from llmops_monitor.sentences import sentences
from llmops_shared.errors import LlmopsError
from llmops_shared.statistics import Floats

logger = logging.getLogger(__name__)

LABEL = "entailment"
NUM_TOKENS = 200
"""Tokens of a passage at most: such models were taught on paragraphs, and are worse on pages (Laban et al. 2022, section 4)."""
MOST_TOKENS = 512
"""Of a pair: what these models have positions for, RoBERTa's 514 included, of which two are never a token's."""
NUM_PAIRS = 32
"""Pairs the model is shown at once."""
SECONDS_BETWEEN_LINES = 10


class Claim(NamedTuple):
    """A sentence of an answer beside a passage of its context."""

    exchange: int
    sentence: int
    passage: str
    text: str


class Entailment:
    """A classifier of pairs of texts, of whose labels one is entailment; where it is among them differs between models."""

    def __init__(self, folder: Path) -> None:
        """Loads a model of Transformers with safetensors weights; takes seconds."""
        try:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError as error:
            raise LlmopsError("scorer=model: Transformers is not installed; pip install 'llmops-shared[sentence-transformers]'") from error
        # only local files, no code of the repository
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self._model = AutoModelForSequenceClassification.from_pretrained(str(folder), use_safetensors=True, **options).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(str(folder), **options)
        self._place = place_of(self._model.config.id2label, str(folder))
        positions = getattr(self._model.config, "max_position_embeddings", MOST_TOKENS)
        self._num_tokens = min(positions, self._tokenizer.model_max_length, MOST_TOKENS)

    def groundedness(self, exchanges: Sequence[Exchanged]) -> Floats:
        """The mean over an answer's sentences of the largest probability that a passage entails them [num_exchanges].

        NaN where nothing was retrieved, or nothing was said.
        """
        claims = [claim for place, exchange in enumerate(exchanges) for claim in self.claims(place, exchange)]
        best: dict[tuple[int, int], float] = {}
        for claim, probability in zip(claims, self.probabilities(claims), strict=True):
            key = (claim.exchange, claim.sentence)
            best[key] = max(best.get(key, 0.0), probability)
        sums, counts = np.zeros(len(exchanges)), np.zeros(len(exchanges))
        for (exchange, _), probability in best.items():
            sums[exchange] += probability
            counts[exchange] += 1
        found: Floats = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        return found

    def claims(self, place: int, exchange: Exchanged) -> list[Claim]:
        """Every sentence of the answer with every passage of the context."""
        said = sentences(exchange.response.content)
        if exchange.context is None or not said:
            return []
        longest = min(max(self.lengths(said)), self._num_tokens // 2)
        special = self._tokenizer.num_special_tokens_to_add(pair=True)
        passages = self.passages(exchange.context.content, min(NUM_TOKENS, self._num_tokens - longest - special))
        return [Claim(place, number, passage, text) for number, text in enumerate(said) for passage in passages]

    def passages(self, context: str, num_tokens: int) -> list[str]:
        """Runs of whole sentences that fit, each from the last sentence of the one before on: a claim may rest on two neighbours."""
        given = [piece for sentence in sentences(context, most=None) for piece in self.pieces(sentence, num_tokens)]
        found: list[str] = []
        run: list[tuple[str, int]] = []
        for sentence, length in zip(given, self.lengths(given), strict=True):
            if run and sum(before for _, before in run) + length > num_tokens:
                found.append(" ".join(text for text, _ in run))
                run = run[-1:] if run[-1][1] + length <= num_tokens else []
            run.append((sentence, length))
        return [*found, " ".join(text for text, _ in run)] if run else found

    def pieces(self, sentence: str, num_tokens: int) -> list[str]:
        """A sentence that fits, or its halves: a table may be one sentence of a thousand words."""
        words = sentence.split()
        if len(words) == 1 or self.lengths([sentence])[0] <= num_tokens:
            return [sentence]
        half = len(words) // 2
        return [*self.pieces(" ".join(words[:half]), num_tokens), *self.pieces(" ".join(words[half:]), num_tokens)]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return (
            [len(tokens) for tokens in self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]] if texts else []
        )

    def probabilities(self, claims: Sequence[Claim]) -> list[float]:
        """How likely each passage entails its sentence; pairs of like length share a batch, so that little of it is padding."""
        import torch

        order = sorted(range(len(claims)), key=lambda place: -len(claims[place].passage) - len(claims[place].text))
        found = [0.0] * len(claims)
        told = time.monotonic()
        for start in range(0, len(order), NUM_PAIRS):
            batch = order[start : start + NUM_PAIRS]
            pairs = [[claims[place].passage for place in batch], [claims[place].text for place in batch]]
            tokens = self._tokenizer(*pairs, truncation="longest_first", max_length=self._num_tokens, padding=True, return_tensors="pt")
            with torch.inference_mode():
                shares = self._model(**tokens).logits.float().softmax(dim=-1)[:, self._place]
            for place, share in zip(batch, shares.tolist(), strict=True):
                found[place] = share
            if time.monotonic() - told > SECONDS_BETWEEN_LINES:
                told = time.monotonic()
                logger.info("judged %d of %d pairs of a sentence and a passage", start + len(batch), len(claims))
        return found


def place_of(labels: "dict[int, str]", model: str) -> int:
    """Where entailment is among a model's labels: the last of three in MNLI's own order, the first or the second in others."""
    for place, label in labels.items():
        if label.casefold() == LABEL and len(labels) > 1:
            return int(place)
    raise LlmopsError(f"judge={model}: is a classifier of {', '.join(labels.values())}; groundedness needs one with the label {LABEL}")
