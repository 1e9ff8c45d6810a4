"""What preprocess writes in two forms, the trainer reads as one."""

import json
from pathlib import Path

import pytest

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import read_document


@pytest.mark.slow
def test_webdataset_shards_of_preprocess_hold_the_rows_of_its_safetensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from llmops_preprocess.cli import main
    from llmops_train.feed.open import open_split
    from llmops_train.feed.order import Order
    from llmops_train.feed_config import FeedConfig

    names = ["mean", "median", "mode", "range", "spread", "sum", "count", "product"]
    texts = [
        f"Function {number} takes {number * 7} values from a list of {names[number % 8]} figures and returns the {names[number * 3 % 8]} of those "
        f"that are larger than {number * 13}, which is what most people who call it {number % 5} times expect."
        for number in range(300)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    settings = {
        "name": "numbers",
        "view": "text",
        "source": {"kind": "jsonl", "uri": str(tmp_path / "rows.jsonl"), "licence": "CC0-1.0"},
        "sequence_length": 64,
        "formats": ["safetensors", "webdataset"],
        "out": str(tmp_path / "dataset"),
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert main(["run", "--config", str(tmp_path / "config.json")]) == 0, capsys.readouterr().err

    place = str(tmp_path / "dataset" / "dataset.json")
    manifest = read_document(place, DatasetManifest)
    safetensors = open_split(place, manifest, "train", FeedConfig())
    tars = open_split(place, manifest, "train", FeedConfig(shards="webdataset", input_mode="fastfile"))

    assert len(tars) == len(safetensors) > 10
    left, right = Order(safetensors, 4, 0), Order(tars, 4, 0)
    for step in range(len(tars) // 4):
        ours, theirs = safetensors.take(left.rows(step)), tars.take(right.rows(step))
        assert (ours.input_ids == theirs.input_ids).all()
        assert (ours.document_ids == theirs.document_ids).all()
