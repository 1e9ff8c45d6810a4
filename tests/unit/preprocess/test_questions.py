"""Questions: each kind from its own fact, none with two answers, a fair number from each entry."""

from dataclasses import replace

import pytest

from llmops_preprocess.chats import make_chats
from llmops_preprocess.config import Questions
from llmops_preprocess.definition import Definition
from llmops_preprocess.python_stdlib import to_record
from llmops_preprocess.questions import PHRASES, ask, first_sentence, sentences

COPY = Definition(
    module="shutil",
    qualified_name="shutil.copytree",
    kind="function",
    docstring=(
        "Recursively move a tree, e.g. a folder,\nto another place. It may take long.\n\nReturns the new place.\n\n"
        "    >>> copytree('a', 'b')\n    'b'\n\nSee also `move`."
    ),
    signature="shutil.copytree(src, dst=None)",
    parameters=(("src", None), ("dst", "None")),
    raises=("Error", "OSError"),
    code="def copytree(src, dst=None):\n    return dst",
)
BOX = Definition("boxes", "boxes.Box", "class", "A thing to put things in.", methods=("close", "open"))
ALL = tuple(PHRASES)


def answers(definition):
    return {kind: answer for kind, _, answer in ask(definition, ALL)}


def test_every_kind_answers_from_its_own_fact():
    assert answers(COPY) == {
        "purpose": "Recursively move a tree, e.g. a folder, to another place.",
        "lookup": "shutil.copytree",
        "signature": "shutil.copytree(src, dst=None)",
        "parameters": "src, dst",
        "default": "None",
        "raises": "Error, OSError",
        "returns": "Returns the new place.",
        "example": ">>> copytree('a', 'b')\n'b'",
        "module": "shutil",
        "code": "Recursively move a tree, e.g. a folder, to another place.",
    }
    assert answers(BOX) == {"purpose": "A thing to put things in.", "lookup": "boxes.Box", "module": "boxes", "methods": "close, open"}


def test_a_question_names_what_it_is_about_and_not_the_answer():
    asked = {kind: question for kind, question, _ in ask(COPY, ALL)}

    named = {kind for kind, question in asked.items() if "shutil.copytree" in question}
    assert named == set(asked) - {"lookup", "module", "code"}
    assert "copytree" not in asked["lookup"]
    assert "Recursively move a tree" in asked["lookup"]
    assert "shutil" not in asked["module"]
    assert "`dst`" in asked["default"]
    assert COPY.code in asked["code"]


def test_phrasings_vary_over_entries_and_not_over_runs():
    entries = [replace(COPY, qualified_name=f"shutil.copy{number}") for number in range(40)]

    found = [question for entry in entries for _, question, _ in ask(entry, ("purpose",))]

    assert found == [question for entry in entries for _, question, _ in ask(entry, ("purpose",))]
    assert len({question.replace(entry.qualified_name, "X") for question, entry in zip(found, entries, strict=True)}) == len(
        PHRASES["purpose"]
    )


def test_a_sentence_that_gives_the_name_away_asks_for_no_name():
    assert "lookup" not in answers(replace(COPY, docstring="The copytree function does it all."))


def test_a_topic_and_a_silent_entry_are_not_asked_about():
    assert answers(replace(COPY, kind="topic")) == {}
    assert set(answers(Definition("m", "m", "module", ""))) == set()


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Return all of it. And more.", "Return all of it."),
        ("Return it without a full stop", "Return it without a full stop."),
        ("dumps(obj) -> str", None),
        (">>> one + one", None),
        ("Stub.", None),
        ("Uses RFC 822. See there.", "Uses RFC 822."),
    ],
)
def test_the_first_sentence_is_a_sentence(docstring, expected):
    assert first_sentence(Definition("m", "m.f", "function", docstring)) == expected


def test_lists_and_code_hold_no_sentences():
    assert sentences("First one.\n\n- a list item.\n\n    code here.\n\nLast one. Yes.") == ["First one.", "Last one.", "Yes."]


def documents(*definitions):
    return [to_record(definition) for definition in definitions]


def test_a_question_with_two_answers_is_dropped_and_one_asked_twice_is_kept_once():
    one = Definition("a", "a.copy", "function", "Copy the thing given.")
    two = Definition("b", "b.copy", "function", "Another way to say so.")
    code = [replace(item, code="def f():\n    return 1") for item in (one, replace(two, docstring=one.docstring))]

    asked, count = make_chats(documents(one, two), Questions(kinds=("module", "purpose")))
    shown, repeated = make_chats(documents(*code), Questions(kinds=("code",)))

    assert [chat.metadata["question"] for _, chat in asked] == ["purpose", "purpose"]
    assert count.dropped == {"ambiguous": 2}
    assert len(shown) == 1
    assert repeated.dropped == {"repeated": 1}


def test_no_entry_gives_more_than_its_share():
    entries = documents(
        *(replace(COPY, qualified_name=f"shutil.copy{number}", docstring=f"{COPY.docstring} {number}") for number in range(30))
    )

    chats, count = make_chats(entries, Questions(per_document=2))

    kinds = {chat.metadata["question"] for _, chat in chats}
    assert len(chats) == count.rows_out == 60
    assert all(sum(document is entry for document, _ in chats) == 2 for entry in entries)
    assert count.rows_in == 60 + sum(count.dropped.values())
    assert len(kinds) >= 5  # a hash chooses which, so that every kind is among them


def test_a_limit_takes_a_sample_of_all_entries():
    entries = documents(*(replace(COPY, qualified_name=f"shutil.copy{number}") for number in range(30)))

    chats, count = make_chats(entries, Questions(limit=12))

    assert len(chats) == 12
    assert count.dropped["limit"] > 0
    assert len({document.source for document, _ in chats}) > 6


def test_a_chat_is_about_its_document():
    (document, chat), *_ = make_chats(documents(COPY), Questions(kinds=("signature",)))[0]

    assert chat.source == document.source
    assert chat.metadata == {"module": "shutil", "qualified_name": "shutil.copytree", "kind": "function", "question": "signature"}
    assert [message.role for message in chat.messages] == ["user", "assistant"]
