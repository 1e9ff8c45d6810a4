"""Tokens to text: characters over several tokens, stop sequences, what a tokenizer may not do."""

import json

import pytest

from llmops_serve.text import Decoder, ModelText
from llmops_shared.contracts.exchange import Message
from llmops_shared.errors import LlmopsError
from support.tiny_package import make_tokenizer


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(str(folder))
    return ModelText(folder)


def decode(text, answer, stop=(), keep_stop=True, prompt="What"):
    """The pieces an answer comes in, and whether it was stopped."""
    decoder = Decoder(text, text.encode(prompt, special=False), stop, keep_stop)
    pieces = []
    for token_id in text.encode(answer, special=False):
        pieces.append(decoder.add(token_id))
        if decoder.stopped:
            return pieces, True
    pieces.append(decoder.finish())
    return pieces, decoder.stopped


@pytest.mark.parametrize("answer", ["Return an iterator.", "a 好 b", "🙂🙂", " naïve", "\n\n  x"])
def test_the_pieces_are_the_answer_and_never_half_a_character(text, answer):
    pieces, _ = decode(text, answer)

    assert "".join(pieces) == answer
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_never_become_a_character_are_shown_at_the_end(text):
    decoder = Decoder(text, [], (), True)
    first_byte_of_a_smiley = text.encode("🙂", special=False)[0]

    assert decoder.add(first_byte_of_a_smiley) == ""
    assert decoder.finish() == "\ufffd"


@pytest.mark.parametrize("stop", ["iter", "n i", ".", "turn an iterator."])
def test_an_answer_ends_with_its_stop_sequence_or_before_it(text, stop):
    answer = "Return an iterator. And more."
    before = answer.partition(stop)[0]

    assert ("".join(decode(text, answer, [stop])[0]), decode(text, answer, [stop])[1]) == (before + stop, True)
    assert ("".join(decode(text, answer, [stop], keep_stop=False)[0])) == before


def test_the_first_of_several_stop_sequences_counts(text):
    pieces, stopped = decode(text, "Return an iterator.", ["rator", "an", "xyz"], keep_stop=False)

    assert ("".join(pieces), stopped) == ("Return ", True)


def test_text_that_only_looks_like_a_stop_sequence_is_not_lost(text):
    pieces, stopped = decode(text, "Return an iter", ["iterator"], keep_stop=False)

    assert ("".join(pieces), stopped) == ("Return an iter", False)
    assert "iter" not in "".join(pieces[:-1])


def test_control_tokens_are_no_text(text):
    decoder = Decoder(text, [], (), True)

    assert decoder.add(text.encode("<|user|>", special=False)[0]) == ""


def test_the_template_makes_the_prompt(text):
    messages = [Message(role="user", content="a"), Message(role="assistant", content="b"), Message(role="user", content="c")]

    assert text.render(messages) == "<|user|>a<|end|><|assistant|>b<|end|><|user|>c<|end|><|assistant|>"


def test_a_template_that_refuses_says_why(text):
    with pytest.raises(ValueError, match="no system messages"):
        text.render([Message(role="system", content="a")])


def test_a_model_without_a_template_takes_no_chats(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(str(tmp_path))

    with pytest.raises(ValueError, match="no chat template"):
        ModelText(tmp_path).render([Message(role="user", content="a")])


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path):
    with pytest.raises(LlmopsError, match=r"has no tokenizer\.json"):
        ModelText(tmp_path)


def test_a_tokenizer_with_code_of_its_own_is_refused(tmp_path):
    make_tokenizer().save_pretrained(str(tmp_path))
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}))

    with pytest.raises(LlmopsError, match="wants to run code of its own"):
        ModelText(tmp_path)
