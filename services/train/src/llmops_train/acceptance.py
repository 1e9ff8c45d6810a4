"""The test a package passes before its document is written: loaded afresh, it answers as the trained model does."""

import logging
from typing import Any

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.contracts import DatasetManifest
from llmops_shared.errors import LlmopsError
from llmops_shared.rows import TextRow
from llmops_train.evaluation.generation import answer
from llmops_train.evaluation.questions import read_rows, sample
from llmops_train.methods.adapters import adapt
from llmops_train.model import load_model, load_tokenizer, without_virtual_places
from llmops_train.source import ModelFiles

logger = logging.getLogger(__name__)

OPENING_CHARACTERS = 200

Messages = list[dict[str, str]]


def prompts_of(uri: str, manifest: DatasetManifest, count: int) -> list[Messages]:
    """Questions of the dataset a run was trained on, or openings of its texts."""
    split = next((name for name in ("test", "validation", "train") if name in manifest.splits and manifest.splits[name].num_rows), "test")
    rows = sample(read_rows(uri, manifest, split), count, seed=0)
    return [
        [{"role": "user", "content": row.text[:OPENING_CHARACTERS]}]
        if isinstance(row, TextRow)
        else [message.model_dump() for message in row.messages[:-1]]
        for row in rows
    ]


def check_change(trained: ModelFiles, prompts: list[Messages], place: str) -> None:
    """Raises LlmopsError for an adapter that changes nothing: the model says the same with it and without, down to the last bit."""
    base = load_model(ModelFiles(trained.folder, trained.adapters[:-1], trained.tokenizer))
    tokenizer = load_tokenizer(trained.tokenizer)
    encoded = [torch.tensor([encode(tokenizer, messages)]) for messages in prompts]
    with torch.no_grad():
        before = [base(input_ids=ids).logits for ids in encoded]
        adapted = without_virtual_places(adapt(base, trained.adapters[-1])).eval()
        changed = any(not torch.equal(adapted(input_ids=ids).logits, logits) for ids, logits in zip(encoded, before, strict=True))
    if not changed:
        raise LlmopsError(f"{place}: its adapter changes nothing, so that the package would be the model below it; train it again")


def accept(trained: ModelFiles, packaged: ModelFiles, prompts: list[Messages], num_tokens: int) -> None:
    """Raises LlmopsError when a greedy answer differs between the trained model, its adapter unmerged, and the package."""
    wanted, found = answers_of(trained, prompts, num_tokens), answers_of(packaged, prompts, num_tokens)
    different = [number for number, pair in enumerate(zip(wanted, found, strict=True)) if pair[0] != pair[1]]
    if different:
        raise LlmopsError(
            f"the packaged model gives other answers than the trained one for {len(different)} of {len(prompts)} prompts, "
            f"number {different[0] + 1} for one; nothing was packaged: use layout=adapter, or train again"
        )
    logger.info("accepted: %d greedy answers of up to %d tokens are the same", len(prompts), num_tokens)


def answers_of(files: ModelFiles, prompts: list[Messages], num_tokens: int) -> list[list[int]]:
    """Greedy answers of a model loaded from its files, the last adapter kept apart."""
    model: Any = load_model(ModelFiles(files.folder, files.adapters[:-1], files.tokenizer))
    if files.adapters:
        model = adapt(model, files.adapters[-1])
    tokenizer = load_tokenizer(files.tokenizer)
    encoded = [encode(tokenizer, messages) for messages in prompts]
    return answer(model.eval(), tokenizer, encoded, num_tokens, batch_rows=len(prompts)).ids


def encode(tokenizer: Any, messages: Messages) -> list[int]:
    """Prompt tokens, through the chat template where there is one."""
    if tokenizer.chat_template is None:
        ids: list[int] = tokenizer.encode(messages[-1]["content"])
        return ids
    templated: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return templated
