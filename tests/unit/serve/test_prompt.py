"""Context in front of a question, within the model's window."""

from typing import NamedTuple

import pytest

from llmops_serve.prompt import question_of, render, render_with_context
from llmops_serve.text import ModelText
from llmops_shared.contracts.exchange import Message
from support.tiny_package import make_tokenizer

QUESTION = [Message(role="user", content="What does chain do?")]


class Chunk(NamedTuple):
    chunk_id: str
    document_id: str
    text: str
    score: float


CHUNKS = [Chunk("1", "a", "Return an iterator.", 0.9), Chunk("2", "b", "copy a tree " * 30, 0.8), Chunk("3", "c", "Recursively copy.", 0.7)]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(str(folder))
    return ModelText(folder)


def test_chunks_stand_before_the_question_best_first(text):
    prompt, used = render_with_context(text, QUESTION, [CHUNKS[0], CHUNKS[2]], 500)

    assert prompt.text == (
        "<|user|>Context:\nReturn an iterator.\n\nRecursively copy.\n\nQuestion: What does chain do?<|end|><|assistant|>"
    )
    assert [one.chunk.chunk_id for one in used] == ["1", "3"]
    assert [one.num_tokens for one in used] == [len(text.encode(chunk.text, special=False)) for chunk in (CHUNKS[0], CHUNKS[2])]


def test_a_chunk_that_does_not_fit_is_left_out_whole(text):
    prompt, used = render_with_context(text, QUESTION, CHUNKS, 120)

    assert len(prompt.token_ids) <= 120
    assert [one.chunk.chunk_id for one in used] == ["1", "3"]


@pytest.mark.parametrize("budget", range(0, 200, 7))
def test_the_prompt_keeps_to_the_budget_whenever_anything_is_added(text, budget):
    prompt, used = render_with_context(text, QUESTION, CHUNKS, budget)

    assert len(prompt.token_ids) <= budget if used else prompt == render(text, QUESTION)


def test_the_context_goes_to_the_last_question_of_a_conversation(text):
    messages = [*QUESTION, Message(role="assistant", content="It chains."), Message(role="user", content="And copytree?")]

    prompt, _ = render_with_context(text, messages, CHUNKS[:1], 500)

    assert question_of(messages) == "And copytree?"
    assert prompt.text.startswith("<|user|>What does chain do?<|end|>")
    assert prompt.text.endswith("Context:\nReturn an iterator.\n\nQuestion: And copytree?<|end|><|assistant|>")


def test_a_conversation_without_a_user_has_no_question():
    with pytest.raises(ValueError, match="needs a message of the user"):
        question_of([Message(role="assistant", content="Hello.")])
