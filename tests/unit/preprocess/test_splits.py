"""Splits by content hash."""

from llmops_preprocess.config import Splits
from llmops_preprocess.splits import split_of, wanted


def test_shares_come_out_as_asked():
    found = [split_of(f"document {number}", Splits(train=0.7, validation=0.2, test=0.1)) for number in range(5000)]

    assert abs(found.count("train") / 5000 - 0.7) < 0.03
    assert abs(found.count("validation") / 5000 - 0.2) < 0.03
    assert abs(found.count("test") / 5000 - 0.1) < 0.02


def test_a_larger_test_share_only_adds_documents_to_it():
    small, large = Splits(), Splits(train=0.5, validation=0.2, test=0.3)
    documents = [f"document {number}" for number in range(2000)]

    assert {text for text in documents if split_of(text, small) == "test"} < {text for text in documents if split_of(text, large) == "test"}


def test_a_split_without_a_share_is_left_out():
    assert wanted(Splits(train=1, validation=0, test=0)) == ["train"]
    assert split_of("anything", Splits(train=1, validation=0, test=0)) == "train"
