"""`llmops-preprocess run` over JSON lines, on a disk and on S3."""

import json

import numpy as np
import pytest
import tokenizers
from safetensors.numpy import load

from llmops_preprocess.cli import main
from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import fetch_part, read_document, sha256
from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, join, store_for


@pytest.fixture
def raw(root, paragraphs, write_lines):
    write_lines(join(root, "raw.jsonl"), [{"text": text} for text in paragraphs])
    return root


def contents(folder):
    store = store_for(folder)
    return {entry.uri.removeprefix(folder): sha256(store.read(entry.uri)) for entry in store.entries(folder)}


def test_rows_shards_and_tokenizer_say_the_same(raw, preprocess, read_rows):
    manifest = preprocess(raw)

    out = join(raw, "out")
    assert read_document(out, DatasetManifest) == manifest
    engine = tokenizers.Tokenizer.from_str(fetch_part(join(out, "dataset.json"), manifest.tokenizer.files[0]).read_text())
    for name, split in manifest.splits.items():
        rows = read_rows(out, manifest, name)
        tensors = load(store_for(out).read(join(out, split.shards[0].path)))
        packed = [
            engine.decode(sequence[documents == number].tolist(), skip_special_tokens=False)
            for sequence, documents in zip(tensors["input_ids"], tensors["document_ids"], strict=True)
            for number in range(1, documents.max() + 1)
        ]
        assert len(rows) == split.num_rows > 0
        assert tensors["input_ids"].shape == tensors["document_ids"].shape == (split.shards[0].num_sequences, 128)
        assert tensors["input_ids"].dtype == tensors["document_ids"].dtype == np.uint16
        assert np.count_nonzero(tensors["document_ids"]) == split.num_tokens == split.shards[0].num_tokens
        assert packed.count("") == 0
        # every text is there, whole when it fits in a sequence, and each ends with the end-of-document token
        assert sum(text.endswith("<|endoftext|>") for text in packed) == len(rows)
        fitting = {row["text"] for row in rows if len(engine.encode(row["text"]).ids) < 128}
        assert fitting
        assert fitting <= {text.removesuffix("<|endoftext|>") for text in packed}


def test_every_row_is_accounted_for_from_stage_to_stage(raw, preprocess):
    manifest = preprocess(raw)

    counts = manifest.counts
    assert [count.stage for count in counts] == [
        "read", "normalise", "language", "quality", "exact_duplicates", "near_duplicates", "tokenize",
    ]  # fmt: skip
    assert all(count.rows_in == count.rows_out + sum(count.dropped.values()) for count in counts)
    assert [count.rows_in for count in counts[1:]] == [count.rows_out for count in counts[:-1]]
    assert counts[0].rows_in == manifest.sources[0].num_records == 200
    assert counts[-1].rows_out == sum(split.num_rows for split in manifest.splits.values())


def test_two_runs_write_the_same_bytes_and_another_seed_another_order(raw, preprocess):
    first = preprocess(raw)
    second = preprocess(raw, out=join(raw, "again"))
    other = preprocess(raw, out=join(raw, "other"), seed=1)

    assert contents(join(raw, "out")) == contents(join(raw, "again"))
    assert first == second
    assert other.splits["train"].rows == first.splits["train"].rows
    assert other.splits["train"].shards[0].sha256 != first.splits["train"].shards[0].sha256


def test_no_path_of_the_machine_is_in_the_manifest(raw, preprocess):
    manifest = preprocess(raw)

    assert manifest.sources[0].uri == "../raw.jsonl"
    assert raw not in manifest.to_json().decode()


def test_a_finished_dataset_is_kept_until_a_setting_or_the_source_changes(raw, preprocess, write_lines):
    first = preprocess(raw)
    before = contents(join(raw, "out"))

    assert preprocess(raw) == first
    assert contents(join(raw, "out")) == before
    with pytest.raises(LlmopsError, match=r"other settings or inputs \(seed\)"):
        preprocess(raw, seed=5)
    write_lines(join(raw, "raw.jsonl"), [{"text": "Another source altogether."}])
    with pytest.raises(LlmopsError, match=r"\(inputs\.source\)"):
        preprocess(raw)
    assert contents(join(raw, "out")) == before


def test_broken_lines_go_to_the_dead_letter_file_and_the_rest_goes_on(root, paragraphs, preprocess, write_lines):
    bad = [b"{not json", b'{"body": 1}', b'{"text": 7}', b"[1]", b'{"text": "\xff"}', b'{"text": "\\ud800"}', b"[" * 200_000]
    write_lines(join(root, "raw.jsonl"), [*({"text": text} for text in paragraphs[:150]), b"", *bad])

    manifest = preprocess(root, max_bad=7)

    out = join(root, "out")
    letters = [json.loads(line) for line in store_for(out).read(join(out, "dead_letter.jsonl")).splitlines()]
    assert [(letter["source"], letter["line"]) for letter in letters] == [("raw.jsonl", number) for number in range(152, 159)]
    assert [letter["reason"].split(" at ")[0] for letter in letters] == [
        "not JSON: Expecting property name enclosed in double quotes",
        "has no field 'text'",
        "field 'text' must be a str, this is a int",
        "a JSON object is needed, this is a list",
        "not UTF-8",
        "half a surrogate pair in the text",
        "not JSON: nested too deeply",
    ]
    assert manifest.counts[0].model_dump() == {"stage": "read", "rows_in": 157, "rows_out": 150, "dropped": {"broken": 7}}
    assert manifest.dead_letter is not None
    assert manifest.dead_letter.sha256 == sha256(store_for(out).read(join(out, "dead_letter.jsonl")))


def test_a_folder_is_read_in_order_of_its_file_names(root, paragraphs, preprocess, write_lines, read_rows):
    write_lines(join(root, "raw", "b.jsonl"), [{"body": text} for text in paragraphs[100:]])
    write_lines(join(root, "raw", "a.jsonl"), [{"body": text} for text in paragraphs[:100]])
    store_for(root).write(join(root, "raw", "readme.txt"), b"no records")

    source = {"kind": "jsonl", "uri": join(root, "raw"), "text_field": "body"}
    manifest = preprocess(root, source=source, splits={"train": 1, "validation": 0, "test": 0})

    rows = read_rows(join(root, "out"), manifest, "train")
    assert [row["source"] for row in rows if row["text"] in paragraphs[:3]] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"]
    assert manifest.counts[0].rows_in == 200
    assert list(manifest.splits) == ["train"]


def test_the_command_prints_the_document_and_logs_every_stage(tmp_path, paragraphs, write_lines, capsys):
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": text} for text in paragraphs])

    words = [
        f"source.uri={tmp_path}/raw.jsonl",
        "source.kind=jsonl",
        "name=small",
        f"out={tmp_path}/out",
        "vocab_size=400",
        "language.code=null",
    ]
    code = main(["run", *words])

    printed = capsys.readouterr()
    assert code == 0
    assert DatasetManifest.model_validate_json(printed.out) == read_document(f"{tmp_path}/out", DatasetManifest)
    assert "near_duplicates: 2" in printed.err
    assert not exists(f"{tmp_path}/out/dead_letter.jsonl")
