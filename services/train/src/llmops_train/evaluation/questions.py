"""The rows to judge: read from a split, sampled with a seed, turned into prompt and answer tokens."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import fetch_part
from llmops_shared.errors import LlmopsError
from llmops_shared.rows import ChatRow, TextRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Row = ChatRow | TextRow

UNNAMED_KIND = "other"


@dataclass(frozen=True)
class Question:
    """One row to judge."""

    row_id: str
    """Id of the row in the dataset."""
    kind: str
    """Kind of question; `text` for a row of a text dataset."""
    prompt: str
    """What was asked."""
    reference: str
    """The answer of the dataset, or the text."""
    prompt_ids: tuple[int, ...]
    """Tokens up to where the answer begins; empty for a text."""
    answer_ids: tuple[int, ...]
    """Tokens of the answer with the end-of-text token, or of the text."""
    conversation: tuple[tuple[str, str], ...] = ()
    """(role, content) of the turns before the answer, for an endpoint."""

    def messages(self) -> list[dict[str, str]]:
        """The turns as an endpoint takes them."""
        return [{"role": role, "content": content} for role, content in self.conversation]


def read_rows(uri: str, manifest: DatasetManifest, split: str) -> list[Row]:
    """All rows of a split. Raises LlmopsError when it is missing or empty."""
    if split not in manifest.splits:
        raise LlmopsError(
            f"{uri}: split {split!r} is missing (has {', '.join(sorted(manifest.splits))}); name one of these, or rerun preprocess"
        )
    kind = ChatRow if manifest.view == "chat" else TextRow
    parts = manifest.splits[split].rows
    rows: list[Row] = [kind.model_validate_json(line) for part in parts for line in fetch_part(uri, part).read_bytes().splitlines()]
    if not rows:
        raise LlmopsError(f"{uri}: split {split!r} is empty; rerun preprocess with more text or a larger share for it")
    return rows


def sample_evenly(rows: Sequence[Row], limit: int, seed: int) -> list[Row]:
    """At most `limit` rows, in turn from each question kind."""
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in sample(rows, len(rows), seed):
        kinds[kind_of(row)].append(row)
    queues = [kinds[kind] for kind in sorted(kinds)]
    turns = [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]
    return turns[:limit]


def sample(rows: Sequence[Row], limit: int, seed: int) -> list[Row]:
    """At most `limit` rows; the sample does not change when rows come in another order."""
    ordered = sorted(rows, key=lambda row: row.id)
    return random.Random(seed).sample(ordered, min(limit, len(ordered)))


def kind_of(row: Row) -> str:
    """The row's question kind."""
    return row.metadata.get("question", UNNAMED_KIND)


def to_question(row: Row, tokenizer: "PreTrainedTokenizerBase") -> Question:
    """The row in tokens. Raises LlmopsError when the chat template rewrites the prompt once the answer is there."""
    if isinstance(row, TextRow):
        ids = (*tokenizer.encode(row.text, add_special_tokens=False), tokenizer.eos_token_id)
        return Question(row.id, "text", "", row.text, (), ids)
    messages = [message.model_dump() for message in row.messages]
    if tokenizer.chat_template is None:
        raise LlmopsError("the dataset's tokenizer has no chat template; rerun preprocess, which writes one")
    prompt = tuple(tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False))
    whole = tuple(tokenizer.apply_chat_template(messages, return_dict=False))
    if whole[: len(prompt)] != prompt:
        raise LlmopsError(
            f"row {row.id}: the chat template writes the question otherwise when the answer follows; correct the dataset's template"
        )
    return Question(row.id, kind_of(row), messages[-2]["content"], messages[-1]["content"], prompt, whole[len(prompt) :])


def plain_question(row: Row) -> Question:
    """The row as an endpoint is asked it, without tokens. Raises LlmopsError for a text, which asks nothing."""
    if isinstance(row, TextRow):
        raise LlmopsError(f"row {row.id}: is a text, which asks nothing; an endpoint is judged on a chat dataset")
    turns = tuple((message.role, message.content) for message in row.messages[:-1])
    return Question(row.id, kind_of(row), row.messages[-2].content, row.messages[-1].content, (), (), turns)


def check_lengths(questions: list[Question], max_new_tokens: int, max_context_tokens: int | None) -> None:
    """Raises LlmopsError when a question and its answer are more than the model takes."""
    for question in questions:
        needed = len(question.prompt_ids) + max(len(question.answer_ids), max_new_tokens)
        if max_context_tokens is not None and question.prompt_ids and needed > max_context_tokens:
            raise LlmopsError(
                f"row {question.row_id}: question and answer need {needed} tokens, but the model takes {max_context_tokens}; "
                f"lower max_new_tokens, or preprocess with a shorter sequence_length"
            )
