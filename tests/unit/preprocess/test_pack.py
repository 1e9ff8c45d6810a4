"""Packing: nothing that fits is cut, nothing is lost, little room is left."""

import time

import numpy as np
import pytest

from llmops_preprocess.pack import cut, pack
from llmops_preprocess.shards import pack_tokens
from llmops_preprocess.tokenize import flat


def documents_of(tensors):
    """(ids, answer mask) of every packed piece."""
    for number, (ids, documents) in enumerate(zip(tensors["input_ids"], tensors["document_ids"], strict=True)):
        for document in range(1, int(documents.max()) + 1):
            here = documents == document
            mask = tensors["loss_mask"][number][here].tolist() if "loss_mask" in tensors else None
            yield ids[here].tolist(), mask


@pytest.mark.parametrize("seed", range(30))
def test_any_documents_come_out_as_they_went_in(seed):
    generator = np.random.default_rng(seed)
    capacity = int(generator.integers(8, 80))
    lengths = generator.integers(
        1, int(generator.choice([capacity // 2, capacity, 3 * capacity])) + 1, size=int(generator.integers(1, 200))
    )
    documents = [generator.integers(10, 60_000, size=length).tolist() for length in lengths]
    answers = [int(generator.integers(1, length + 1)) for length in lengths]

    tensors = pack_tokens(flat(documents, answers), capacity, 60_000, pad_id=1, seed=seed)

    pieces = [
        (document[start : start + capacity], answer, len(document) - start)
        for document, answer in zip(documents, answers, strict=True)
        for start in range(0, len(document), capacity)
    ]
    expected = [(ids, [int(left - position <= answer) for position in range(len(ids))]) for ids, answer, left in pieces]
    assert sorted(documents_of(tensors)) == sorted(expected)
    padding = tensors["document_ids"] == 0
    assert (tensors["input_ids"][padding] == 1).all()
    assert (tensors["loss_mask"][padding] == 0).all()
    # padding is only ever at the end of a sequence
    assert (np.diff(padding.astype(int), axis=1) >= 0).all()


def test_a_document_goes_where_it_leaves_the_least_room():
    # the 3 fits beside both others, and fills the room beside the 7
    assert pack(np.array([5, 3, 7]), 10) == [[2, 1], [0]]
    assert pack(np.array([6, 7, 3, 4, 2]), 10) == [[1, 2], [0, 3], [4]]


def test_long_documents_are_cut_at_every_sequence_length_and_short_ones_are_not():
    starts, lengths = cut([5, 23, 10], 10)

    assert list(zip(starts.tolist(), lengths.tolist(), strict=True)) == [(0, 5), (5, 10), (15, 10), (25, 3), (28, 10)]


def test_a_large_vocabulary_gets_wide_ids():
    tensors = pack_tokens(flat([[70_000, 1]], None), 8, 70_001, pad_id=0, seed=0)

    assert tensors["input_ids"].dtype == np.uint32
    assert tensors["input_ids"].tolist() == [[70_000, 1, 0, 0, 0, 0, 0, 0]]
    assert "loss_mask" not in tensors


def test_many_documents_are_packed_quickly_and_tightly():
    lengths = np.random.default_rng(0).gamma(2.0, 120.0, size=50_000).astype(np.int64).clip(1, 2048)
    started = time.process_time()

    sequences = pack(lengths, 2048)

    assert time.process_time() - started < 5  # ten times what it takes on a busy core
    assert sum(map(len, sequences)) == 50_000
    assert max(int(lengths[sequence].sum()) for sequence in sequences) <= 2048
    assert lengths.sum() / (len(sequences) * 2048) > 0.999
