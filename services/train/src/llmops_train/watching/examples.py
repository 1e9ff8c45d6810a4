"""What the model writes at each evaluation: the same few rows again and again, as a table in MLflow."""

from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import fetch_part
from llmops_shared.rows import ChatRow, TextRow
from llmops_shared.tracking import Run
from llmops_train.config import TrainConfig
from llmops_train.evaluation.generation import answer
from llmops_train.loss import autocast

COLUMNS = ("step", "prompt", "expected", "answer")
OPENING_TOKENS = 16

Example = tuple[list[int], str, str]
"""Prompt in tokens and in text, and what the dataset has there."""


def watch_examples(
    config: TrainConfig, model: Any, tokenizer: Any, place: str, manifest: DatasetManifest, tracking: Run
) -> Callable[[int], None]:
    """What to call at each evaluation; the table grows by `config.examples` rows."""
    examples = first_examples(place, manifest, tokenizer, config.examples)
    table: list[tuple[int, str, str, str]] = []

    def show(step: int) -> None:
        learning = model.training
        model.eval()
        prompts = [prompt for prompt, _, _ in examples]
        with torch.no_grad(), autocast(next(model.parameters()).device, config):
            found = answer(model, tokenizer, prompts, config.example_tokens, len(prompts))
        model.train(learning)
        table.extend(
            (step, prompt, expected, tokenizer.decode(ids)) for (_, prompt, expected), ids in zip(examples, found.ids, strict=True)
        )
        tracking.table("examples", COLUMNS, table)

    return show


def first_examples(place: str, manifest: DatasetManifest, tokenizer: Any, count: int) -> list[Example]:
    """The first rows of the validation split: questions, or the openings of texts."""
    lines: list[bytes] = []
    for part in manifest.splits["validation"].rows:
        with fetch_part(place, part).open("rb") as file:
            lines += [line for line, _ in zip(file, range(count - len(lines)), strict=False)]
    return [example_of(line, manifest, tokenizer) for line in lines]


def example_of(line: bytes, manifest: DatasetManifest, tokenizer: Any) -> Example:
    """A row as a prompt and what follows it."""
    if manifest.view == "text":
        ids = tokenizer.encode(TextRow.model_validate_json(line).text, add_special_tokens=False)
        half = min(OPENING_TOKENS, max(1, len(ids) // 2))
        return ids[:half], tokenizer.decode(ids[:half]), tokenizer.decode(ids[half : 4 * half])
    messages = [message.model_dump() for message in ChatRow.model_validate_json(line).messages]
    ids = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
    return ids, messages[-2]["content"], messages[-1]["content"]
