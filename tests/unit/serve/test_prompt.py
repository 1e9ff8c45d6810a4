"""Context in front of a question, within the budgets of the model's window and of the endpoint's settings."""

import pytest

from llmops_serve.prompt import question_of, render, render_with_context
from llmops_serve.retrieve import Context
from llmops_serve.text import ModelText
from llmops_shared.contracts.exchange import Message
from llmops_shared.contracts.retrieval import RetrievalSettings
from llmops_shared.retrieval.store import FoundChunk
from support.tiny_package import make_tokenizer

QUESTION = [Message(role="user", content="What does chain do?")]
CHUNKS = [
    FoundChunk("1", "a", "Return an iterator.", 0.9, "python:3.11/itertools.chain", "itertools.chain"),
    FoundChunk("2", "b", "copy a tree " * 30, 0.8),
    FoundChunk("3", "c", "Recursively copy.", 0.7),
]


def context(*chunks, **settings):
    return Context("i" * 64, RetrievalSettings(**settings), chunks, 1.0, 2.0)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(str(folder))
    return ModelText(folder)


def test_chunks_stand_before_the_question_best_first(text):
    prompt, used = render_with_context(text, QUESTION, context(CHUNKS[0], CHUNKS[2]), 500)

    assert prompt.text == (
        "<|user|>Context:\nReturn an iterator.\n\nRecursively copy.\n\nQuestion: What does chain do?<|end|><|assistant|>"
    )
    assert [one.chunk.chunk_id for one in used] == ["1", "3"]
    assert [one.num_tokens for one in used] == [len(text.encode(chunk.text, special=False)) for chunk in (CHUNKS[0], CHUNKS[2])]


def test_the_templates_of_the_endpoint_number_and_name_what_is_shown(text):
    settings = {"template": "{question}\nLook here:\n{context}", "chunk_template": "[{number}] {title}: {text} ({source})"}

    prompt, _ = render_with_context(text, QUESTION, context(CHUNKS[0], CHUNKS[2], **settings), 500)

    shown = "[1] itertools.chain: Return an iterator. (python:3.11/itertools.chain)\n\n[2] : Recursively copy. ()"
    assert prompt.text == f"<|user|>What does chain do?\nLook here:\n{shown}<|end|><|assistant|>"


def test_braces_in_chunks_and_questions_are_text(text):
    asked = [Message(role="user", content="What is {context} of {0}?")]

    prompt, _ = render_with_context(text, asked, context(FoundChunk("1", "a", "{question} {", 0.9)), 500)

    assert prompt.text == "<|user|>Context:\n{question} {\n\nQuestion: What is {context} of {0}?<|end|><|assistant|>"


def test_a_chunk_that_does_not_fit_is_left_out_whole(text):
    prompt, used = render_with_context(text, QUESTION, context(*CHUNKS), 120)

    assert len(prompt.token_ids) <= 120
    assert [one.chunk.chunk_id for one in used] == ["1", "3"]


@pytest.mark.parametrize("budget", range(0, 200, 7))
def test_the_prompt_keeps_to_the_budget_whenever_anything_is_added(text, budget):
    prompt, used = render_with_context(text, QUESTION, context(*CHUNKS), budget)

    assert len(prompt.token_ids) <= budget if used else prompt == render(text, QUESTION)


@pytest.mark.parametrize("budget", [1, 20, 25, 60, 400])
def test_the_context_keeps_to_a_budget_of_its_own(text, budget):
    _, used = render_with_context(text, QUESTION, context(*CHUNKS, max_context_tokens=budget, chunk_template="[{number}] {text}"), 10_000)

    assert sum(len(text.encode(one.shown, special=False)) for one in used) <= budget
    assert bool(used) == (budget >= 20)


def test_the_context_goes_to_the_last_question_of_a_conversation(text):
    messages = [*QUESTION, Message(role="assistant", content="It chains."), Message(role="user", content="And copytree?")]

    prompt, _ = render_with_context(text, messages, context(CHUNKS[0]), 500)

    assert question_of(messages) == "And copytree?"
    assert prompt.text.startswith("<|user|>What does chain do?<|end|>")
    assert prompt.text.endswith("Context:\nReturn an iterator.\n\nQuestion: And copytree?<|end|><|assistant|>")


def test_a_conversation_without_a_user_has_no_question():
    with pytest.raises(ValueError, match="needs a message of the user"):
        question_of([Message(role="assistant", content="Hello.")])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"template": "Q: {question}"}, r"template: needs the place \{context\}"),
        ({"template": "{context} {question} {answer}"}, r"template: has no value for \{answer\}; its places are context, question"),
        ({"template": "{context} {question} {"}, "template: .*write a brace of the text twice"),
        ({"chunk_template": "{number}"}, r"chunk_template: needs the place \{text\}"),
        ({"chunk_template": "{text:>1000000000}"}, r"chunk_template: \{text\} takes no format"),
        ({"chunk_template": "{text.__class__}"}, r"has no value for \{text.__class__\}"),
        ({"filters": {"module": []}}, "filters.module: needs one value at least"),
        ({"reranker": {"kind": "tei"}}, "reranker tei needs url="),
        ({"reranker": {"kind": "bedrock"}}, "reranker bedrock needs model="),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        RetrievalSettings.model_validate(settings)
