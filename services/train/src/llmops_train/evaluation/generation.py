"""Greedy answers in batches, padded on the left."""

import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch  # noqa: TID253 - this module is imported late

# peft finds the positions behind virtual tokens itself, by the mask
PROMPT_WARNING = "Position ids are not supported for parameter efficient tuning"


class Answers(NamedTuple):
    """What a model answered, in the order of the prompts."""

    ids: list[list[int]]
    """Tokens of each answer, the end-of-text token left out."""
    num_tokens: int
    """Tokens generated, the end-of-text tokens included."""
    seconds: float
    """Time it took."""


def answer(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_rows: int) -> Answers:
    """The model's most likely next token, one after the other, until the end-of-text token or `max_new_tokens`."""
    from transformers import GenerationConfig

    settings = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    began = time.perf_counter()
    answers: list[list[int]] = [[] for _ in prompts]
    num_tokens = 0
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))  # equal lengths together: little padding
    for start in range(0, len(order), batch_rows):
        numbers = order[start : start + batch_rows]
        longest = len(prompts[numbers[-1]])
        padding = [longest - len(prompts[number]) for number in numbers]
        ids = torch.tensor([[tokenizer.pad_token_id] * pad + list(prompts[number]) for number, pad in zip(numbers, padding, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * (longest - pad) for pad in padding])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", PROMPT_WARNING, UserWarning)
            generated = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)[:, longest:].tolist()
        for number, tokens in zip(numbers, generated, strict=True):
            answers[number] = until(tokens, tokenizer.eos_token_id)
            num_tokens += min(len(answers[number]) + 1, len(tokens))
    return Answers(answers, num_tokens, time.perf_counter() - began)


def until(tokens: list[int], end: int) -> list[int]:
    """The tokens in front of the first `end`."""
    return tokens[: tokens.index(end)] if end in tokens else tokens
