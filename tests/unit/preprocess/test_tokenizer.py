"""Tokenizers, trained and given, and the loss mask of chats."""

import json
import shutil

import pytest

from llmops_preprocess.chat_template import ROLE_TOKENS, ChatTemplate
from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.given_tokenizer import tokenizer_files
from llmops_preprocess.record import Record
from llmops_preprocess.tokenize import make_tokenizer, tokenize, up_to
from llmops_preprocess.tokenizer import SPECIAL_TOKENS, open_tokenizer, train_tokenizer
from llmops_shared.contracts.exchange import Message
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for

CHAT = PreprocessConfig(name="small", out="unused", view="chat", sequence_length=128)


def chat(question, answer, system=None):
    turns = [("system", system)] if system else []
    messages = tuple(Message(role=role, content=content) for role, content in [*turns, ("user", question), ("assistant", answer)])
    return Record("x", f"{question} {answer}", "PSF-2.0", messages=messages)


@pytest.fixture
def trained(paragraphs, tmp_path):
    (tmp_path / "trained").mkdir()
    train_tokenizer(paragraphs, 500, tmp_path / "trained")
    return open_tokenizer(tmp_path / "trained", "trained here")


def parts(rows, tokenizer, config=CHAT):
    """(prompt, answer) of each row as the tokens and the mask have it, and the count."""
    _, tokens, count = tokenize(rows, tokenizer, config)
    found, start = [], 0
    for length in tokens.lengths.tolist():
        ids, mask = tokens.ids[start : start + length], tokens.answers[start : start + length]
        found.append(tuple(tokenizer.engine.decode(ids[mask == value].tolist(), skip_special_tokens=False) for value in (0, 1)))
        start += length
    return found, count


def test_special_tokens_come_first_and_every_text_comes_back(trained):
    text = "Any text: naïve, 漢字, \U0001f40d, \ttabs and\n\nline ends  "

    (ids,) = trained.encode([text], add_special_tokens=True)

    assert [trained.engine.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert (trained.eos_id, trained.pad_id, trained.vocab_size) == (0, 1, 500)
    assert trained.engine.decode(ids, skip_special_tokens=False) == text


def test_training_is_repeatable(paragraphs, trained, tmp_path):
    (tmp_path / "again").mkdir()
    train_tokenizer(paragraphs, 500, tmp_path / "again")

    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (trained.folder / name).read_bytes()


def test_it_is_trained_on_the_train_split_and_nothing_else(tmp_path):
    tokenizer = make_tokenizer(None, [Record("x", "aaaa bbbb " * 50, "PSF-2.0")], CHAT, tmp_path / "tokenizer")

    learned = set(tokenizer.engine.get_vocab()) - set(SPECIAL_TOKENS)
    assert {"aaaa", "Ġaaaa", "Ġbbbb"} <= learned
    assert all(set(token) <= set("abĠ") for token in learned if len(token) > 1)


def test_loss_is_on_the_answer_and_the_token_that_ends_it(trained):
    (first, second), count = parts([chat("What is it?", "A thing."), chat("And this?", ">>> one\ntwo", system="Be brief.")], trained)

    assert first == ("<|user|>\nWhat is it?\n<|assistant|>\n", "A thing.<|endoftext|>")
    assert second == ("<|system|>\nBe brief.\n<|user|>\nAnd this?\n<|assistant|>\n", ">>> one\ntwo<|endoftext|>")
    assert count.dropped == {}


def test_what_was_answered_before_is_given_and_not_learned(trained):
    turns = (("user", "One?"), ("assistant", "Yes."), ("user", "Two?"), ("assistant", "No."))
    row = Record("x", "One? Two?", "PSF-2.0", messages=tuple(Message(role=role, content=content) for role, content in turns))

    ((prompt, answer),), _ = parts([row], trained)

    assert prompt == "<|user|>\nOne?\n<|assistant|>\nYes.<|endoftext|><|user|>\nTwo?\n<|assistant|>\n"
    assert answer == "No.<|endoftext|>"


def test_chats_longer_than_a_sequence_are_dropped_and_counted(trained):
    found, count = parts([chat("Why?", "word " * 200), chat("Why?", "Because.")], trained)

    assert [answer for _, answer in found] == ["Because.<|endoftext|>"]
    assert count.model_dump() == {"stage": "tokenize", "rows_in": 2, "rows_out": 1, "dropped": {"too_long": 1}}


def test_chats_whose_answer_melts_into_the_question_are_dropped_and_counted(trained):
    (trained.folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    tokenizer = open_tokenizer(trained.folder, "given")

    # "the" is one token, so a model that is given "th" never stands where "e" begins
    found, count = parts([chat("Is it th", "e"), chat("Is it", " the")], tokenizer)

    assert found == [("Is it", " the<|endoftext|>")]
    assert count.dropped == {"token_boundary": 1}


def test_a_template_that_renders_the_question_in_two_ways_is_refused():
    source = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}!{% endif %}"

    with pytest.raises(LlmopsError, match="tokenizer given: its chat template does not render a question the same way"):
        ChatTemplate(source, {}, "tokenizer given").split(chat("Why?", "Because.").messages)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for %}", "is not valid Jinja"),
        ("{{ raise_exception('no system role here') }}", r"refuses a conversation \(no system role here\)"),
        ("{{ messages.append(1) }}", "refuses a conversation"),
        ("{{ ''.__class__.__mro__ }}", "refuses a conversation"),
    ],
)
def test_a_template_that_fails_or_reaches_out_is_refused(source, message):
    with pytest.raises(LlmopsError, match=message):
        ChatTemplate(source, {}, "tokenizer given").render(chat("Why?", "Because.").messages)


def test_templates_see_what_transformers_gives_them():
    source = (
        "{% for m in messages %}{% if loop.last %}{% generation %}{{ m | tojson }}{% endgeneration %}{% break %}{% endif %}{% endfor %}"
        "{{ eos_token }} {{ tools is none }} {{ strftime_now is defined }}"
    )

    rendered = ChatTemplate(source, {"eos_token": "</s>"}, "given").render(chat("Why?", "<é> & 'so'").messages)

    assert rendered == """{"role": "assistant", "content": "<é> & 'so'"}</s> True False"""


def test_what_follows_the_end_of_an_answer_is_not_learned():
    assert up_to("Yes.<|im_end|>\n", "<|im_end|>") == "Yes.<|im_end|>"
    assert up_to("Yes.\n", "</s>") == "Yes.\n"


def test_a_template_file_wins_over_the_config_and_is_kept(trained, tmp_path):
    (trained.folder / "chat_template.jinja").write_text("{% for m in messages %}[{{ m.content }}]{% endfor %}")

    tokenizer = make_tokenizer(tokenizer_files(str(trained.folder)), [], CHAT, tmp_path / "copied")

    assert tokenizer.template.render(chat("a", "b").messages) == "[a][b]"
    assert json.loads((tmp_path / "copied" / "tokenizer_config.json").read_text())["chat_template"] == ROLE_TOKENS


def test_a_named_template_is_taken_from_several(trained):
    config = json.loads((trained.folder / "tokenizer_config.json").read_text())
    config["chat_template"] = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes {{ eos_token }}"}]
    (trained.folder / "tokenizer_config.json").write_text(json.dumps(config))

    assert open_tokenizer(trained.folder, "given").template.render([]) == "yes <|endoftext|>"


def test_a_tokenizer_without_an_end_token_is_refused(trained):
    (trained.folder / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')

    with pytest.raises(LlmopsError, match="names no eos_token that is in its vocabulary"):
        open_tokenizer(trained.folder, "given")


def test_the_tokenizer_of_another_dataset_or_folder_is_taken_as_it_is(root, paragraphs, preprocess, write_lines):
    write_lines(join(root, "raw.jsonl"), [{"text": text} for text in paragraphs])
    first = preprocess(root)

    by_document = preprocess(root, out=join(root, "two"), tokenizer=join(root, "out"))
    by_folder = preprocess(root, out=join(root, "three"), tokenizer=join(root, "out", "tokenizer"))

    assert first.tokenizer == by_document.tokenizer == by_folder.tokenizer
    assert first.splits == by_document.splits == by_folder.splits


def test_a_damaged_tokenizer_of_another_dataset_is_refused(root, paragraphs, preprocess, write_lines):
    write_lines(join(root, "raw.jsonl"), [{"text": text} for text in paragraphs])
    preprocess(root)
    store_for(root).write(join(root, "out", "tokenizer", "tokenizer.json"), b"{}")

    with pytest.raises(LlmopsError, match=r"tokenizer\.json: is damaged"):
        preprocess(root, out=join(root, "two"), tokenizer=join(root, "out"))


def test_a_given_tokenizer_without_a_template_gets_plain_words_and_no_new_tokens(test_data, tmp_path):
    given = test_data / "model-stories260k"

    tokenizer = make_tokenizer(tokenizer_files(str(given)), [], CHAT, tmp_path / "copied")
    row = chat("What is it?", "A thing.")
    ((_, answer),), count = parts([row], tokenizer)

    assert tokenizer.template.render(row.messages) == "<s>User: What is it?\nAssistant: A thing.</s>"
    assert answer.strip() == "A thing.</s>"
    assert count.dropped == {}
    assert tokenizer.vocab_size == 512
    assert (tmp_path / "copied" / "tokenizer.json").read_bytes() == (given / "tokenizer.json").read_bytes()
    assert {path.name for path in (tmp_path / "copied").iterdir()} == {"tokenizer.json", "tokenizer_config.json"}


def test_a_given_tokenizer_puts_its_own_start_token_before_a_text(test_data, tmp_path):
    tokenizer = make_tokenizer(tokenizer_files(str(test_data / "model-stories260k")), [], CHAT, tmp_path / "copied")

    _, tokens, _ = tokenize([Record("x", "Once upon a time", "MIT")], tokenizer, CHAT.model_copy(update={"view": "text"}))

    assert tokens.ids[0] == 1
    assert tokens.ids[-1] == 2
    assert tokenizer.engine.decode(tokens.ids.tolist()) == "Once upon a time"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trained", "stories"])
def test_transformers_makes_the_same_ids(name, trained, paragraphs, tmp_path, request):
    from transformers import AutoTokenizer

    if name == "stories":
        given = request.getfixturevalue("test_data") / "model-stories260k"
        tokenizer = make_tokenizer(tokenizer_files(str(given)), [], CHAT, tmp_path / "copied")
    else:
        tokenizer = trained
    shutil.copytree(tokenizer.folder, tmp_path / "loaded")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "loaded")
    rows = [chat(text.split(".")[0], "A thing.") for text in paragraphs]

    kept, tokens, _ = tokenize(rows, tokenizer, CHAT)

    start = 0
    for row, length in zip(kept, tokens.lengths.tolist(), strict=True):
        turns = [message.model_dump() for message in row.messages]
        whole = theirs.apply_chat_template(turns, tokenize=True, return_dict=False)
        prompt = theirs.apply_chat_template(turns[:-1], add_generation_prompt=True, tokenize=True, return_dict=False)
        assert tokens.ids[start : start + length].tolist() == whole
        assert tokens.answers[start : start + length].tolist() == [0] * len(prompt) + [1] * (length - len(prompt))
        start += length
    assert len(kept) > 100
    assert theirs(paragraphs)["input_ids"] == tokenizer.encode(paragraphs, add_special_tokens=True)
    assert (theirs.eos_token_id, len(theirs)) == (tokenizer.eos_id, tokenizer.vocab_size)
