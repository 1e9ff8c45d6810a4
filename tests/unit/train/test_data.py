"""Batches of packed sequences."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import read_document, store_part, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for
from llmops_train.data import IGNORED, Order, Packed, Sequences, make_batch, read_split
from llmops_train.feed_config import FeedConfig

ROW = np.array([0])


def test_positions_restart_and_labels_stay_inside_a_document() -> None:
    packed = Packed(np.array([[5, 6, 7, 8, 9, 0]]), np.array([[1, 1, 1, 2, 2, 0]]), None)

    batch = make_batch(packed, ROW)

    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1, 0]]
    assert batch.labels.tolist() == [[6, 7, IGNORED, 9, IGNORED, IGNORED]]
    assert batch.num_tokens == 5
    assert batch.attention_mask[0, 0, 4].tolist() == [False, False, False, True, True, False]


def test_chats_are_learnt_where_the_answer_is() -> None:
    packed = Packed(np.array([[5, 6, 7, 8, 9]]), np.array([[1, 1, 1, 1, 1]]), np.array([[0, 0, 1, 1, 0]]))

    assert make_batch(packed, ROW).labels.tolist() == [[IGNORED, 7, 8, IGNORED, IGNORED]]


def test_every_epoch_has_every_row_once_in_its_own_order() -> None:
    order = Order(num_rows=10, batch_rows=4, seed=3)

    rows = np.concatenate([order.rows(step) for step in range(5)])

    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert rows[:10].tolist() != rows[10:].tolist()
    assert Order(10, 4, 3).rows(3).tolist() == rows[12:16].tolist()


def test_packed_documents_get_the_logits_they_get_alone(pretrained: str, text: str) -> None:
    from llmops_train.model import load_model
    from llmops_train.source import identify, open_source

    model = load_model(open_source(identify(pretrained))).eval()
    packed = read_split(f"{text}/dataset.json", read_document(text, DatasetManifest), "train")
    batch = make_batch(packed, ROW)

    with torch.no_grad():
        together = model(
            input_ids=batch.input_ids, position_ids=batch.position_ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits[0]
        careless = model(input_ids=batch.input_ids, use_cache=False).logits[0]
        documents = packed.take(ROW).document_ids[0]
        alone = [
            model(input_ids=batch.input_ids[:, documents == number], use_cache=False).logits[0] for number in range(1, documents.max() + 1)
        ]

    assert len(alone) > 1
    torch.testing.assert_close(together[documents > 0], torch.cat(alone), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(careless[documents > 0], torch.cat(alone), atol=1e-2)


def broken(text: str, tmp_path: object, table: dict[str, np.ndarray]) -> tuple[str, DatasetManifest]:
    """The text dataset with another train shard."""
    manifest = read_document(text, DatasetManifest)
    from llmops_shared.contracts.dataset import Shard
    from llmops_shared.documents import store_part

    folder = str(tmp_path)
    part = store_part(folder, "shards/train-00000.safetensors", save(table))
    shard = Shard(**part.model_dump(), num_sequences=1, num_tokens=1)
    changed = manifest.model_copy(update={"splits": {"train": manifest.splits["train"].model_copy(update={"shards": [shard]})}})
    write_document(folder, changed)
    return f"{folder}/dataset.json", changed


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"input_ids": np.zeros((1, 64), np.uint16)}, "lacks document_ids"),
        ({"input_ids": np.zeros((1, 32), np.uint16), "document_ids": np.ones((1, 32), np.uint16)}, "expected 1 rows of 64"),
        ({"input_ids": np.full((1, 64), 9999, np.uint16), "document_ids": np.ones((1, 64), np.uint16)}, "holds token 9999"),
    ],
)
def test_a_shard_that_is_not_what_its_manifest_says_is_named(
    text: str, tmp_path: object, table: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(LlmopsError, match=message):
        read_split(*broken(text, tmp_path, table), "train").take(ROW)


def test_missing_splits_and_shards_are_named(text: str, tmp_path: object) -> None:
    table = {"input_ids": np.zeros((1, 64), np.uint16), "document_ids": np.ones((1, 64), np.uint16)}
    place, manifest = broken(text, tmp_path, table)
    store_for(place).remove(join(str(tmp_path), "shards/train-00000.safetensors"))

    with pytest.raises(LlmopsError, match="shards/train-00000.safetensors: there is no such file"):
        read_split(place, manifest, "train")
    with pytest.raises(LlmopsError, match=r"split 'validation' is missing \(has train\)"):
        read_split(place, manifest, "validation")
    empty = manifest.model_copy(update={"splits": {"train": manifest.splits["train"].model_copy(update={"shards": []})}})
    with pytest.raises(LlmopsError, match="split 'train' has no shards"):
        read_split(place, empty, "train")


def test_rows_of_chats_are_the_documents_of_the_shards_with_the_same_answers_learnt(chat: str) -> None:
    place, manifest = f"{chat}/dataset.json", read_document(chat, DatasetManifest)

    def documents(sequences: Sequences) -> list[tuple[list[int], list[int]]]:
        taken = sequences.take(np.arange(len(sequences)))
        assert taken.loss_mask is not None
        found = []
        for ids, numbers, learnt in zip(taken.input_ids, taken.document_ids, taken.loss_mask, strict=True):
            found += [(ids[numbers == one].tolist(), learnt[numbers == one].tolist()) for one in range(1, int(numbers.max()) + 1)]
        return sorted(found)

    rows = read_split(place, manifest, "train", FeedConfig(shards="rows"))

    assert len(rows) == 120 and documents(rows) == documents(read_split(place, manifest, "train"))
    assert make_batch(rows, np.arange(4)).labels.ne(IGNORED).any()


def test_a_template_that_rewrites_the_question_is_named(chat: str, tmp_path: Path) -> None:
    copy = tmp_path / "chat"
    shutil.copytree(chat, copy)
    path = copy / "tokenizer" / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "chat_template": "{{ messages | length }}" + settings["chat_template"]}))
    manifest = read_document(str(copy), DatasetManifest)
    tokenizer = manifest.tokenizer.model_copy(
        update={"files": [store_part(str(copy), part.path, (copy / part.path).read_bytes()) for part in manifest.tokenizer.files]}
    )
    rows = read_split(f"{copy}/dataset.json", manifest.model_copy(update={"tokenizer": tokenizer}), "train", FeedConfig(shards="rows"))

    with pytest.raises(LlmopsError, match="row row-0: the chat template of .* renders its question differently"):
        rows.take(np.arange(1))
