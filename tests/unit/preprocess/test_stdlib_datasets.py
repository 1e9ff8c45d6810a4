"""The three shipped datasets of the standard library, made for real and at once."""

import json
import os
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from llmops_preprocess.cli import main
from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import read_document, sha256

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[3] / "services" / "preprocess" / "configs"


def start(config, out, seed, *words):
    command = [sys.executable, "-m", "llmops_preprocess.cli", "run", "--config", str(CONFIGS / config), f"out={out}", *words]
    return subprocess.Popen(command, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.DEVNULL)


def finish(*processes):
    assert [process.wait() for process in processes] == [0] * len(processes)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder with `text`, the same made a second time, `chat` and `shifted`."""
    folder = tmp_path_factory.mktemp("stdlib datasets")
    finish(start("stdlib-text.yaml", folder / "text", "1"), start("stdlib-text.yaml", folder / "again", "2"))
    given = f"tokenizer={folder}/text"
    finish(start("stdlib-chat.yaml", folder / "chat", "3", given), start("stdlib-code-chat.yaml", folder / "shifted", "3", given))
    return folder


def manifest(made, name):
    return read_document(str(made / name), DatasetManifest)


def rows(made, name, split):
    return [
        json.loads(line) for part in manifest(made, name).splits[split].rows for line in (made / name / part.path).read_text().splitlines()
    ]


def test_another_hash_seed_makes_the_same_bytes(made):
    digests = [{path.relative_to(made / name): sha256(path) for path in sorted((made / name).rglob("*.*"))} for name in ("text", "again")]

    assert digests[0] == digests[1]
    assert len(digests[0]) == 10


@pytest.mark.parametrize("name", ["text", "chat", "shifted"])
def test_no_document_is_in_two_splits(made, name):
    sources = [{row["source"] for row in rows(made, name, split)} for split in ("train", "validation", "test")]

    assert all(sources)
    assert sum(map(len, sources)) == len(set.union(*sources))


def test_held_out_chats_are_about_held_out_documents(made):
    for split in ("train", "validation", "test"):
        assert {row["source"] for row in rows(made, "chat", split)} <= {row["source"] for row in rows(made, "text", split)}


def test_the_documents_are_many_public_and_of_this_python(made):
    train = rows(made, "text", "train")

    version = f"python:{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    assert len(train) > 5000
    assert {row["licence"] for row in train} == {"PSF-2.0"}
    assert all(row["source"] == f"{version}/{row['metadata']['qualified_name']}" for row in train)
    assert not any("._" in row["metadata"]["qualified_name"] for row in train)
    assert {"module", "class", "function", "method", "property", "topic"} == {row["metadata"]["kind"] for row in train}
    assert manifest(made, "text").sources[0].uri == version


@pytest.mark.parametrize("name", ["text", "chat", "shifted"])
def test_no_path_of_this_machine_is_in_any_row_or_document(made, name):
    library, home = sysconfig.get_path("stdlib"), str(Path.home())

    for path in [made / name / "dataset.json", *(made / name / "rows").iterdir()]:
        text = path.read_text()
        assert library not in text
        assert f"{home}/" not in text
        assert str(made) not in text


@pytest.mark.parametrize("name", ["text", "chat", "shifted"])
def test_every_stage_counts_every_row(made, name):
    counts = manifest(made, name).counts

    documents = [count for count in counts if count.stage not in ("questions", "tokenize")]
    assert all(count.rows_in == count.rows_out + sum(count.dropped.values()) for count in counts)
    assert [count.rows_in for count in documents[1:]] == [count.rows_out for count in documents[:-1]]
    assert counts[-1].rows_in == counts[-2].rows_out
    assert {"private", "undocumented"} <= set(counts[0].dropped)


def test_there_are_seven_kinds_of_questions_and_more(made):
    kinds = Counter(row["metadata"]["question"] for row in rows(made, "chat", "train"))
    held_out = Counter(row["metadata"]["question"] for row in rows(made, "chat", "test"))

    assert len([kind for kind, number in kinds.items() if number >= 100]) >= 7
    assert set(held_out) == set(kinds)
    assert held_out["signature"] > 100


def test_a_signature_starts_with_the_name_it_was_asked_for(made):
    asked = [row for row in rows(made, "chat", "test") if row["metadata"]["question"] == "signature"]

    assert all(row["messages"][1]["content"].startswith(f"{row['metadata']['qualified_name']}(") for row in asked)
    assert all(row["metadata"]["qualified_name"] in row["messages"][0]["content"] for row in asked)


def test_shifted_prompts_are_source_code_and_many(made):
    test = rows(made, "shifted", "test")

    assert len(test) >= 300
    assert {row["metadata"]["question"] for row in test} == {"code"}
    assert all("def " in row["messages"][0]["content"] for row in test)


def test_the_sequences_are_nearly_full(made):
    for name in ("text", "chat"):
        shard = manifest(made, name).splits["train"].shards[0]
        assert shard.num_tokens / (shard.num_sequences * 256) > 0.98


def test_made_again_it_is_kept(made, capsys):
    before = (made / "chat" / "dataset.json").stat().st_mtime_ns

    code = main(["run", "--config", str(CONFIGS / "stdlib-chat.yaml"), f"out={made}/chat", f"tokenizer={made}/text"])

    assert code == 0
    assert "finished, nothing changed" in capsys.readouterr().err
    assert (made / "chat" / "dataset.json").stat().st_mtime_ns == before
