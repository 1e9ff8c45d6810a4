"""Forms of a dataset: the same sequences in safetensors and in WebDataset tars, the same rows in JSON lines and in Parquet."""

import io
import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load

from llmops_preprocess.config import PreprocessConfig
from llmops_shared.store import join, store_for


@pytest.fixture
def written(root, paragraphs, write_lines, preprocess):
    write_lines(join(root, "raw.jsonl"), [{"text": text} for text in paragraphs])
    manifest = preprocess(root, formats=["safetensors", "webdataset", "parquet"], shard_tokens=4096)
    return join(root, "out"), manifest


def test_every_tar_holds_the_sequences_of_its_safetensors(written):
    out, manifest = written
    store = store_for(out)
    for split in manifest.splits.values():
        shards = {shard.path: shard for shard in split.shards}
        tars = [path for path in shards if path.endswith(".tar")]
        assert len(tars) == len(shards) / 2
        assert split.num_tokens == sum(shards[path].num_tokens for path in tars)
        for path in tars:
            twin = path.replace(".tar", ".safetensors")
            assert shards[path].num_sequences == shards[twin].num_sequences > 0
            tensors = load(store.read(join(out, twin)))
            with tarfile.open(fileobj=io.BytesIO(store.read(join(out, path)))) as archive:
                found = {item.name: np.load(io.BytesIO(archive.extractfile(item).read())) for item in archive}
                places = [item.offset for item in archive]
            assert list(found)[:2] == ["00000000.input_ids.npy", "00000000.document_ids.npy"]
            for number in range(shards[path].num_sequences):
                for name, tensor in tensors.items():
                    assert (found[f"{number:08d}.{name}.npy"] == tensor[number]).all()
            # all samples are of one size, so that a reader finds any of them by its number
            assert len(set(np.diff(places[::2]))) <= 1


def test_several_shards_hold_every_document_once_and_are_of_like_size(written):
    _, manifest = written
    shards = [shard for shard in manifest.splits["train"].shards if shard.path.endswith(".safetensors")]

    assert len(shards) > 3
    assert [shard.path for shard in shards] == [
        f"shards/train-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(len(shards))
    ]
    assert sum(shard.num_tokens for shard in shards) == manifest.splits["train"].num_tokens
    assert max(shard.num_tokens for shard in shards) < 2 * 4096


def test_parquet_holds_the_rows(written, read_rows):
    out, manifest = written

    for name, split in manifest.splits.items():
        table = [row for part in split.parquet for row in pq.read_table(io.BytesIO(store_for(out).read(join(out, part.path)))).to_pylist()]
        assert [{**row, "metadata": dict(row["metadata"])} for row in table] == read_rows(out, manifest, name)


def test_webdataset_reads_the_tars(tmp_path, paragraphs, write_lines, preprocess):
    webdataset = pytest.importorskip("webdataset")
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": text} for text in paragraphs])
    manifest = preprocess(str(tmp_path), formats=["webdataset"])

    shard = manifest.splits["train"].shards[0]
    with (tmp_path / "out" / shard.path).open("rb") as file:
        stream = webdataset.tariterators.tar_file_expander([{"url": "train.tar", "stream": file}])
        samples = list(webdataset.tariterators.group_by_keys(stream))

    assert len(samples) == shard.num_sequences
    assert [sample["__key__"] for sample in samples[:2]] == ["00000000", "00000001"]
    assert sum(np.count_nonzero(np.load(io.BytesIO(sample["document_ids.npy"]))) for sample in samples) == shard.num_tokens


def test_conversations_are_written_in_every_form(tmp_path, write_lines, preprocess):
    rows = [
        {"messages": [{"role": "user", "content": f"What is {number}?"}, {"role": "assistant", "content": f"It is number {number * 7}."}]}
        for number in range(200)
    ]
    write_lines(str(tmp_path / "raw.jsonl"), rows)
    manifest = preprocess(str(tmp_path), view="chat", formats=["webdataset", "parquet"], near_duplicates={"threshold": None})

    train = manifest.splits["train"]
    table = pq.read_table(tmp_path / "out" / train.parquet[0].path).to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "out" / train.rows[0].path).read_text().splitlines()]
    with tarfile.open(tmp_path / "out" / train.shards[0].path) as archive:
        assert archive.getnames()[:3] == ["00000000.input_ids.npy", "00000000.document_ids.npy", "00000000.loss_mask.npy"]
    assert [row["messages"] for row in table] == [row["messages"] for row in lines]


def test_rows_alone_are_no_dataset():
    with pytest.raises(ValueError, match="hold no packed sequences"):
        PreprocessConfig(name="x", out="y", formats=("parquet",))
