"""Documents become chunks that stand alone."""

import re
from collections.abc import Sequence
from functools import partial

import pytest

from llmops_preprocess.chunking.chunk import chunk_rows
from llmops_preprocess.chunking.paragraphs import cut_paragraphs
from llmops_shared.errors import LlmopsError
from llmops_shared.rows import TextRow
from support.text_dataset import text_row

CUT = partial(cut_paragraphs, overlap_sentences=0)


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def chunks(text: str, max_tokens: int, overlap_sentences: int = 0, name: str = "shutil.copytree") -> list[str]:
    found = chunk_rows([text_row(name, text)], count_words, max_tokens, partial(cut_paragraphs, overlap_sentences=overlap_sentences))
    assert all(chunk.num_tokens == len(chunk.text.split()) <= max_tokens for chunk in found)
    return [chunk.text for chunk in found]


def test_a_short_document_is_one_chunk_under_its_title() -> None:
    assert chunks("function a.b(x)\n\nDoes it.\n\nReturns nothing.", 20) == ["function a.b(x)\nDoes it.\n\nReturns nothing."]


def test_every_chunk_opens_with_the_title() -> None:
    text = "function a.b(x)\n\nOne two three four.\n\nFive six seven eight.\n\nNine ten."

    assert chunks(text, 8) == [
        "function a.b(x)\nOne two three four.",
        "function a.b(x)\nFive six seven eight.\n\nNine ten.",
    ]


def test_a_heading_with_a_rule_is_a_title_and_a_name_stands_in_for_none() -> None:
    assert chunks('The "assert" statement\n**********************\n\nAssert statements help.', 32, name="topics.assert") == [
        'The "assert" statement\nAssert statements help.'
    ]
    assert chunks("Two lines\nwithout a title.", 32) == ["shutil.copytree\nTwo lines\nwithout a title."]


def test_a_signature_that_takes_the_room_of_the_text_is_left_out() -> None:
    text = "function a.b(one, two, three, four, five)\n\nDoes a thing."

    assert chunks(text, 8, name="a.b") == ["function a.b\nDoes a thing."]


def test_an_example_stays_whole_with_its_announcement_and_empty_lines() -> None:
    text = "module m\n\nOne two three four five six.\n\nUse it so:\n\n    a = 1\n\n    b = 2\n\nSeven eight."

    assert chunks(text, 14) == [
        "module m\nOne two three four five six.",
        "module m\nUse it so:\n\n    a = 1\n\n    b = 2\n\nSeven eight.",
    ]


def test_an_example_that_does_not_fit_is_cut_between_lines() -> None:
    session = "".join(f">>> f({number}) + 1\n{number}\n" for number in range(6))

    found = chunks(f"module m\n\n{session}", 14)

    assert len(found) > 1
    for text in found:
        assert all(re.fullmatch(r">>> f\(\d\) \+ 1|\d", line) for line in text.splitlines()[1:])


def test_a_long_paragraph_is_cut_between_sentences_and_repeats_the_last() -> None:
    text = "module m\n\nOne two three. Four five six. Seven eight nine. Ten."

    assert chunks(text, 12) == ["module m\nOne two three. Four five six. Seven eight nine. Ten."]
    assert chunks(text, 11) == ["module m\nOne two three. Four five six. Seven eight nine.", "module m\nTen."]
    assert chunks(text, 11, overlap_sentences=1) == [
        "module m\nOne two three. Four five six. Seven eight nine.",
        "module m\nSeven eight nine. Ten.",
    ]


def test_nothing_is_lost_however_small_the_chunks() -> None:
    text = "module m\n\n" + "\n\n".join(
        f"Sentence {i} is here, and it goes on. Another one.\n  code({i})\n\n    x = {i}" for i in range(20)
    )

    for max_tokens in (5, 9, 17, 50):
        body = " ".join(" ".join(chunk.splitlines()[1:]) for chunk in chunks(text, max_tokens))
        assert body.split() == text.split()[2:]


def test_a_word_longer_than_a_chunk_is_cut() -> None:
    def count_letters(texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    found = chunk_rows([text_row("m", "x" * 1000)], count_letters, 40, CUT)

    assert all(chunk.num_tokens <= 40 for chunk in found)
    assert "".join(chunk.text.removeprefix("m\n") for chunk in found) == "x" * 1000


def test_pieces_that_have_more_tokens_together_still_fit() -> None:
    def count_more(texts: Sequence[str]) -> list[int]:
        return [len(text.split()) + text.count("\n\n") for text in texts]

    found = chunk_rows([text_row("m", "\n\n".join(["one two"] * 30))], count_more, 32, CUT)

    assert max(chunk.num_tokens for chunk in found) <= 32


def test_what_cannot_be_cut_short_enough_is_named() -> None:
    with pytest.raises(LlmopsError, match=r"python:3\.11\.7/m: cannot be cut into chunks of 32 tokens; raise max_chunk_tokens"):
        chunk_rows([text_row("m", "word")], lambda texts: [100 for _ in texts], 32, CUT)


def test_chunk_ids_name_document_and_place() -> None:
    rows: list[TextRow] = [text_row("a", "one two three four"), text_row("b", "five")]

    found = chunk_rows(rows, count_words, 3, CUT)

    assert [(chunk.chunk_id, chunk.document_id) for chunk in found] == [("row-a:0", "row-a"), ("row-a:1", "row-a"), ("row-b:0", "row-b")]
