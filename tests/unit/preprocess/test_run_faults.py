"""What can go wrong with `llmops-preprocess run`: one clear message, exit code 2, and a second run that completes."""

import json
from pathlib import Path

import pytest

from llmops_preprocess.cli import main
from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import read_document


@pytest.fixture
def raw(tmp_path, paragraphs, write_lines):
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": text} for text in paragraphs])
    return tmp_path


def run(folder, *words):
    source = [] if any(word.startswith("source.uri") for word in words) else [f"source.uri={folder}/raw.jsonl"]
    trained = [] if any(word.startswith("tokenizer=") for word in words) else ["vocab_size=400"]
    return main(["run", "name=small", "source.kind=jsonl", f"out={folder}/out", "language.code=null", *trained, *source, *words])


def refused(capsys, folder, *words):
    """The message of a command that must be refused."""
    code = run(folder, *words)
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert not Path(folder, "out", "dataset.json").exists()
    return printed.err.splitlines()[-1]


def test_a_source_that_is_missing_is_named(tmp_path, capsys):
    message = refused(capsys, tmp_path)

    assert message.endswith(
        f"source.uri {tmp_path}/raw.jsonl: does not exist, or is empty; name a file of JSON lines, or a folder with *.jsonl files"
    )


def test_a_folder_without_json_lines_is_named(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("text")

    assert "holds no .jsonl file, only 1 others" in refused(capsys, tmp_path, f"source.uri={tmp_path}")


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_source_is_named(tmp_path, capsys, content):
    (tmp_path / "raw.jsonl").write_bytes(content)

    assert "holds no records (0 read, 0 broken)" in refused(capsys, tmp_path)


def test_too_many_broken_lines_stop_the_job_and_all_are_kept(tmp_path, capsys, paragraphs, write_lines):
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": paragraphs[0]}, b"{", b"nope"])

    message = refused(capsys, tmp_path)

    assert "2 of 3 records are broken, max_bad=0.01 allows 0; the first is raw.jsonl line 2: not JSON" in message
    assert f"all are in {tmp_path}/out/dead_letter.jsonl" in message
    assert [json.loads(line)["line"] for line in (tmp_path / "out" / "dead_letter.jsonl").read_text().splitlines()] == [2, 3]


def test_mended_lines_leave_no_dead_letters_of_the_attempt_before(raw, capsys, paragraphs, write_lines):
    write_lines(str(raw / "raw.jsonl"), [*({"text": text} for text in paragraphs), b"{"])
    refused(capsys, raw, "max_bad=0")
    write_lines(str(raw / "raw.jsonl"), [{"text": text} for text in paragraphs])

    assert run(raw, "max_bad=0") == 0
    assert not (raw / "out" / "dead_letter.jsonl").exists()


def test_a_folder_that_cannot_be_written_is_named_before_any_work(raw, capsys):
    (raw / "out").write_text("a file where the folder should be")

    message = refused(capsys, raw)

    assert f"{raw}/out/request.json: cannot be written" in message
    assert "choose another out=" in message


def test_a_half_written_document_is_moved_aside_and_the_next_run_completes(raw, capsys):
    (raw / "out").mkdir()
    (raw / "out" / "dataset.json").write_text('{"schema_version": 1, "kind": "data')

    first = run(raw)

    message = capsys.readouterr().err
    assert first == 2
    assert "was half-written by an interrupted run" in message
    assert "run the same command again" in message
    assert run(raw) == 0
    assert read_document(str(raw / "out"), DatasetManifest).name == "small"


def test_an_interrupted_run_leaves_no_document_and_is_completed_by_the_next(raw, capsys, monkeypatch):
    from llmops_preprocess import shards

    written = []

    def stop_at_the_second(part, path):
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt
        original(part, path)

    original = shards.save_file
    monkeypatch.setattr(shards, "save_file", stop_at_the_second)
    assert run(raw) == 130
    assert not (raw / "out" / "dataset.json").exists()
    monkeypatch.undo()

    assert run(raw) == 0
    assert run(raw, f"out={raw}/unbroken") == 0
    assert (raw / "out" / "dataset.json").read_bytes() == (raw / "unbroken" / "dataset.json").read_bytes()


def test_a_split_that_stays_empty_is_named(tmp_path, capsys, paragraphs, write_lines):
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": text} for text in paragraphs[:3]])

    message = refused(capsys, tmp_path, "splits.train=0.98", "splits.validation=0.01", "splits.test=0.01")

    assert "is empty (splits.validation=0.01; train: 3" in message


def test_filters_that_leave_nothing_are_named(raw, capsys):
    message = refused(capsys, raw, "quality.min_words=1000")

    assert "no document is left after stage 'quality' (dropped: 200 min_words)" in message


def test_a_language_nobody_knows_is_named(raw, capsys):
    assert "language.code qq: not a language py3langid knows" in refused(capsys, raw, "language.code=qq")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("splits.train=0.5", "splits: train + validation + test must be 1, got 0.6"),
        ("source.kind=csv", "does not match any of the expected tags"),
        ("sequence_length=4", "sequence_length: Input should be greater than or equal to 8"),
        ("questions.limit=3", "questions are for view: chat of source.kind: python_stdlib"),
        ("tokenizer=here vocab_size=400", "vocab_size is for a tokenizer that is trained, and one is given"),
        ("near_duplicates.treshold=0.5", "did you mean threshold?"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(raw, capsys, word, expected):
    code = run(raw, *word.split())

    assert code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tokenizer", "expected"),
    [
        ("{folder}/none", "no dataset and no folder with a tokenizer.json"),
        ("s3x://bucket/x", "no store for s3x://"),
        ("{folder}/empty.json", "there is no such DatasetManifest"),
        ("some-user/some-model", "is no local folder, and the Hugging Face hub does not give it"),
    ],
)
def test_a_tokenizer_that_is_not_there_is_named(raw, capsys, monkeypatch, tokenizer, expected):
    monkeypatch.chdir(raw)

    assert expected in refused(capsys, raw, f"tokenizer={tokenizer.format(folder=raw)}")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tokenizer.json": "{"}, "tokenizer.json is not valid JSON"),
        ({"tokenizer.json": "{}"}, "its tokenizer.json holds no model"),
        ({"tokenizer_config.json": "{}"}, "has no tokenizer.json"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_named(raw, capsys, files, expected):
    (raw / "given").mkdir()
    for name, text in files.items():
        (raw / "given" / name).write_text(text)

    assert expected in refused(capsys, raw, f"tokenizer={raw}/given")
