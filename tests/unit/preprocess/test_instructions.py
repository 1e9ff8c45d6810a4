"""Instruction data: every usual shape becomes the same conversation; pairs keep both answers."""

import gzip
import json
from collections import Counter

import pytest

from llmops_preprocess.files import read_files
from llmops_preprocess.files_config import Files
from llmops_preprocess.instructions import conversations
from llmops_preprocess.record import Broken
from llmops_shared.contracts.exchange import Message
from llmops_shared.rows import ChatRow
from llmops_shared.store import join

ASKED = [("user", "Why is the sky blue?"), ("assistant", "Rayleigh scattering.")]
HH = "\n\nHuman: Why is the sky blue?\n\nAssistant: Rayleigh scattering."


def spoken(messages):
    return [(message.role, message.content) for message in messages]


def only(value):
    (found,) = conversations(value)
    return found


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("messages", {"messages": [{"role": role, "content": text} for role, text in ASKED]}),
        ("messages", {"messages": [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in ASKED]}),
        ("sharegpt", {"conversations": [{"from": name, "value": text} for name, (_, text) in zip(("human", "gpt"), ASKED, strict=True)]}),
        ("alpaca", {"instruction": ASKED[0][1], "input": "", "output": ASKED[1][1]}),
        ("completion", {"prompt": ASKED[0][1], "completion": ASKED[1][1]}),
        ("completion", {"prompt": [{"role": "user", "content": ASKED[0][1]}], "response": [{"role": "assistant", "content": ASKED[1][1]}]}),
        ("self-instruct", {"instruction": ASKED[0][1], "instances": [{"input": "", "output": ASKED[1][1]}]}),
    ],
)
def test_the_usual_shapes_say_the_same(shape, value):
    found = only(value)

    assert spoken(found.messages) == ASKED
    assert found.rejected == ()
    assert found.metadata == {"shape": shape}


@pytest.mark.parametrize(
    "value",
    [
        {"chosen": HH, "rejected": HH.replace("Rayleigh scattering.", "Because.")},
        {"prompt": ASKED[0][1], "chosen": ASKED[1][1], "rejected": "Because."},
        {
            "conversations": [{"from": "human", "value": ASKED[0][1]}],
            "chosen": {"from": "gpt", "value": ASKED[1][1]},
            "rejected": {"from": "gpt", "value": "Because."},
        },
        {
            "prompt": ASKED[0][1],
            "chosen": [{"role": role, "content": text} for role, text in ASKED],
            "rejected": [{"role": role, "content": text} for role, text in (ASKED[0], ("assistant", "Because."))],
        },
    ],
)
def test_a_preference_pair_keeps_both_answers(value):
    found = only(value)

    assert spoken(found.messages) == ASKED
    assert spoken(found.rejected) == [ASKED[0], ("assistant", "Because.")]
    assert found.metadata == {"shape": "preference"}


def test_what_stands_around_the_turns_is_kept():
    alpaca = {"system": "Be brief.", "instruction": "Add", "input": "1 2", "output": "3", "history": [["Hi", "Hello"]]}
    calls = {
        "tools": '[{"name": "f"}]',
        "conversations": [
            {"from": "human", "value": "go"},
            {"from": "function_call", "value": "f()"},
            {"from": "observation", "value": "7"},
            {"from": "gpt", "value": "It is 7."},
        ],
    }

    assert spoken(only(alpaca).messages) == [
        *(("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello")),
        *(("user", "Add\n\n1 2"), ("assistant", "3")),
    ]
    assert spoken(only(calls).messages) == [
        ("system", '<tools>\n[{"name": "f"}]\n</tools>'),
        ("user", "go"),
        ("assistant", "<tool_call>\nf()\n</tool_call>"),
        ("user", "<tool_response>\n7\n</tool_response>"),
        ("assistant", "It is 7."),
    ]
    assert len(conversations({"instruction": "Add", "instances": [{"input": "1 1", "output": "2"}, {"input": "2 2", "output": "4"}]})) == 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], "a JSON object is needed"),
        ({"text": "x"}, "no shape of instruction data has the keys text"),
        ({"messages": [{"role": "user", "content": "x"}]}, "the assistant last"),
        ({"messages": []}, "must speak in turn"),
        ({"messages": "x"}, "a list is needed, this is a str"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "speaker 'narrator' is none of"),
        ({"messages": [{"content": "x"}]}, "neither 'role' nor 'from'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "content of type 'image_url' is no text"),
        ({"instruction": "x", "output": ""}, r"turn 2 of 2 \(assistant\) says nothing"),
        ({"instruction": "x"}, "has no field 'output'"),
        ({"instruction": "x", "output": 7}, "a text is needed, this is a int"),
        ({"instruction": "x", "output": "y", "history": [["one"]]}, "pairs of question and answer, one has 1 texts"),
        ({"chosen": "yes", "rejected": "no"}, "neither holds a question"),
    ],
)
def test_what_is_no_conversation_is_told(value, expected):
    with pytest.raises(ValueError, match=expected):
        conversations(value)


SETS = {
    "instruct-gpteacher/roleplay-simple-deduped": (2175, 0, {"alpaca"}),
    "instruct-gpteacher/toolformer-dedupe-only": (5349, 0, {"alpaca"}),
    "instruct-llamafactory/alpaca_en_demo": (701, 0, {"alpaca"}),
    "instruct-llamafactory/alpaca_zh_demo": (699, 0, {"alpaca"}),
    "instruct-llamafactory/dpo_en_demo": (224, 224, {"preference"}),
    "instruct-llamafactory/glaive_toolcall_en_demo": (217, 0, {"sharegpt"}),
    "instruct-llamafactory/kto_en_demo": (206, 0, {"messages"}),
    "instruct-llamafactory/reason_tool_use_demo_50": (32, 0, {"messages"}),
    "instruct-self-instruct/seed_tasks": (123, 0, {"self-instruct"}),
    "instruct-self-instruct/user_oriented_instructions": (171, 0, {"self-instruct"}),
    "preference-hh-harmless/harmless-base-test": (1648, 1648, {"preference"}),
}


@pytest.mark.parametrize("name", SETS)
def test_real_sets_are_read_to_the_last_record(test_data, name):
    num_conversations, num_pairs, shapes = SETS[name]
    path = test_data / f"{name}.jsonl.gz"

    found = list(read_files(Files(kind="files", uri=str(path)), "chat"))

    broken = Counter(item.reason for item in found if isinstance(item, Broken))
    records = [item for item in found if not isinstance(item, Broken)]
    assert len(records) == num_conversations
    assert sum(bool(record.rejected) for record in records) == num_pairs
    assert {record.metadata["shape"] for record in records} == shapes
    with gzip.open(path, "rb") as lines:
        assert len({record.source for record in records}) + broken.total() == sum(1 for _ in lines)
    # three answers of hh-rlhf are empty
    assert all("says nothing" in reason for reason in broken)


def test_the_job_writes_pairs_and_drops_answers_nobody_wanted(root, paragraphs, preprocess, write_lines, read_rows):
    pairs = [{"prompt": f"Say: {text}", "chosen": text, "rejected": f"No: {text}"} for text in paragraphs[:60]]
    labelled = [
        {
            "messages": [{"role": "user", "content": f"What about {text[:40]}?"}, {"role": "assistant", "content": text}],
            "label": number % 2 == 0,
        }
        for number, text in enumerate(paragraphs[60:120])
    ]
    write_lines(join(root, "raw.jsonl"), [*pairs, *labelled])

    source = {"kind": "files", "uri": join(root, "raw.jsonl")}
    manifest = preprocess(
        root,
        view="chat",
        source=source,
        splits={"train": 1, "validation": 0, "test": 0},
        sequence_length=2048,
        near_duplicates={"threshold": None},
    )

    assert manifest.counts[0].dropped == {"unwanted": 30}
    rows = read_rows(join(root, "out"), manifest, "train")
    kept = [ChatRow.model_validate(row) for row in rows]
    assert sum(bool(row.rejected) for row in kept) == 60
    assert all("rejected" not in json.dumps(row) for row in rows if row["metadata"]["shape"] == "messages")
    assert all(row.rejected[-1] == Message(role="assistant", content=f"No: {row.messages[-1].content}") for row in kept if row.rejected)
