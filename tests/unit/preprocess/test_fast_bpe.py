"""The fast path of tokenizing: the very ids of `tokenizers`, or none at all."""

import gzip
import json
import random

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from llmops_preprocess.fast_bpe import fast_encoder
from llmops_preprocess.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from pydoc_data.topics import topics

    folder = tmp_path_factory.mktemp("bpe")
    train_tokenizer(list(topics.values())[:30], 1000, folder)
    return folder / "tokenizer.json"


def test_ids_are_the_same_on_any_text(trained):
    engine = tokenizers.Tokenizer.from_file(str(trained))
    fast = fast_encoder(engine)
    generator = random.Random(0)
    ranges = [(32, 126), (9, 13), (160, 591), (0x400, 0x4FF), (0x4E00, 0x4FFF), (0x1F600, 0x1F64F), (0x2000, 0x206F)]

    texts = ["".join(chr(generator.randint(*generator.choice(ranges))) for _ in range(generator.randrange(80))) for _ in range(500)]
    texts += ["what <|endoftext|> is <|pad|><|user|>", "<|endoftext|", "<|end"]

    assert fast is not None
    assert [fast(text) for text in texts] == [item.ids for item in engine.encode_batch(texts, add_special_tokens=False)]


@pytest.mark.parametrize("change", ["normalizer", "prefix", "no_regex", "merges", "added"])
def test_tokenizers_of_another_kind_have_no_fast_path(trained, change):
    engine = tokenizers.Tokenizer.from_file(str(trained))
    match change:
        case "normalizer":
            engine.normalizer = normalizers.Lowercase()
        case "prefix":
            engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        case "no_regex":
            engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        case "merges":
            settings = json.loads(engine.to_str())
            settings["model"]["merges"][0], settings["model"]["merges"][5] = settings["model"]["merges"][5], settings["model"]["merges"][0]
            engine = tokenizers.Tokenizer.from_str(json.dumps(settings))
        case "added":
            engine.add_tokens([tokenizers.AddedToken(" wide", lstrip=True)])

    assert fast_encoder(engine) is None


def test_the_real_vocabulary_of_gpt2_takes_it(test_data):
    folder = test_data / "tokenizer-gpt2"
    vocabulary = json.loads(gzip.decompress((folder / "vocab.json.gz").read_bytes()))
    lines = gzip.decompress((folder / "merges.txt.gz").read_bytes()).decode().splitlines()
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    engine = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    engine.pre_tokenizer, engine.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    engine.add_special_tokens(["<|endoftext|>"])

    fast = fast_encoder(engine)

    assert fast is not None
    with gzip.open(test_data / "langid-lingua" / "sentences.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for number, line in enumerate(file) if number % 5 == 0]
    assert [fast(text) for text in texts] == [item.ids for item in engine.encode_batch(texts, add_special_tokens=False)]
