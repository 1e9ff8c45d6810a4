"""Choosing the next token of each row of a batch."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch  # noqa: TID253 - this module is imported late
from transformers.generation.logits_process import (  # noqa: TID253
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from llmops_serve.engines.engine import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Choice(NamedTuple):
    """A token and the log-probability the model itself gave it."""

    token_id: int
    logprob: float
    likely: list[tuple[int, float]] | None = None
    """The likeliest tokens with their log-probabilities, when asked for."""


class Chooser:
    """Chooses the tokens of one answer: transformers' own processors, and a generator of its own if it draws."""

    def __init__(self, sampling: Sampling) -> None:
        self.processors = make_processors(sampling)
        self.top_n_tokens = sampling.top_n_tokens
        self.generator: torch.Generator | None = None
        if sampling.do_sample:
            self.generator = torch.Generator().manual_seed(random.getrandbits(63) if sampling.seed is None else sampling.seed)

    @property
    def takes_likeliest(self) -> bool:
        """True for plain greedy decoding, which a whole batch does at once."""
        return self.generator is None and not self.processors

    def choose(self, token_ids: Sequence[int], logits: torch.Tensor) -> int:
        """The token after `token_ids`, from logits of shape [vocabulary]."""
        scores = self.processors(torch.tensor([token_ids]), logits[None].clone())
        if self.generator is None:
            return int(scores.argmax())
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self.generator))


def make_processors(sampling: Sampling) -> LogitsProcessorList:
    """In the order of transformers' `generate`, so that equal settings give equal distributions."""
    processors = LogitsProcessorList()
    if sampling.repetition_penalty is not None and sampling.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.do_sample:
        if sampling.temperature is not None and sampling.temperature != 1.0:
            processors.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k is not None:
            processors.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p is not None and sampling.top_p < 1.0:
            processors.append(TopPLogitsWarper(sampling.top_p))
        if sampling.typical_p is not None and sampling.typical_p < 1.0:
            processors.append(TypicalLogitsWarper(sampling.typical_p))
    return processors


def choose_all(choosers: Sequence[Chooser], token_ids: Sequence[Sequence[int]], logits: torch.Tensor) -> list[Choice]:
    """The next token of every row, from logits of shape [rows, vocabulary]."""
    logits = logits.float()
    tokens: list[int] = logits.argmax(-1).tolist()
    for row, chooser in enumerate(choosers):
        if not chooser.takes_likeliest:
            tokens[row] = chooser.choose(token_ids[row], logits[row])
    normalizers = logits.logsumexp(-1)
    logprobs = logits.gather(1, torch.tensor(tokens)[:, None])[:, 0] - normalizers
    choices = [Choice(token, logprob) for token, logprob in zip(tokens, logprobs.tolist(), strict=True)]
    for row, chooser in enumerate(choosers):
        if chooser.top_n_tokens:
            best = logits[row].topk(min(chooser.top_n_tokens, logits.shape[1]))
            pairs = zip(best.indices.tolist(), (best.values - normalizers[row]).tolist(), strict=True)
            choices[row] = choices[row]._replace(likely=list(pairs))
    return choices


def prompt_logprobs(model: "PreTrainedModel", prompt_ids: Sequence[int]) -> list[float | None]:
    """Log-probability of each token of a prompt; None for the first, before which there is nothing."""
    logits: torch.Tensor = model(input_ids=torch.tensor([prompt_ids]), use_cache=False).logits[0, :-1]
    logprobs = logits.float().log_softmax(-1)
    return [None, *logprobs.gather(1, torch.tensor(prompt_ids[1:], dtype=torch.long)[:, None])[:, 0].tolist()]
