"""The fitted embedder: words of code, vectors, its files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmops_shared.contracts import index
from llmops_shared.documents import store_part
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.embedder import open_embedder
from llmops_shared.retrieval.lsa import LsaEmbedder, fit_lsa
from llmops_shared.retrieval.words import words

DOCUMENTS = [
    "function shutil.copytree(src, dst)\nRecursively copy a directory tree and return the destination directory.",
    "function shutil.rmtree(path)\nRecursively delete a directory tree.",
    "function json.dumps(obj)\nSerialize an object to a JSON formatted string.",
    "class collections.OrderedDict\nDictionary that remembers insertion order.",
    "function os.path.join(path, *paths)\nJoin path components; see shutil.copytree to copy what is below.",
    "function math.sqrt(x)\nReturn the square root of x.",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("os.path.joinAll", ["os.path.joinall", "os", "path", "joinall", "join", "all"]),
        ("copy_tree", ["copy_tree", "copy", "tree"]),
        ("HTTPServer", ["httpserver", "http", "server"]),
        ("__init__", ["__init__", "init"]),
        ("What does shutil.copytree do?", ["shutil.copytree", "shutil", "copytree"]),
        ("Größe 42", ["größe", "42"]),
        ("", []),
    ],
)
def test_words_of_code(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("question", "place"),
    [("What does shutil.copytree do?", 0), ("delete a directory tree", 1), ("How do I use OrderedDict?", 3), ("square root", 5)],
)
def test_the_right_document_is_nearest(question: str, place: int) -> None:
    embedder, vectors = fit_lsa(DOCUMENTS, 256, seed=0)

    assert int(np.argmax(vectors @ embedder.embed([question])[0])) == place


def test_vectors_have_length_one_and_unknown_words_none() -> None:
    embedder, vectors = fit_lsa(DOCUMENTS, 48, seed=0)

    embedded = embedder.embed([*DOCUMENTS, "zzz qqq"])

    assert embedded.dtype == np.float32
    assert embedded.shape == (len(DOCUMENTS) + 1, 48)
    np.testing.assert_allclose(np.linalg.norm(embedded[:-1], axis=1), 1, atol=1e-5)
    assert not embedded[-1].any()
    np.testing.assert_allclose(vectors, embedded[:-1], atol=1e-5)


def test_the_same_texts_give_the_same_embedder() -> None:
    first, second, other = (fit_lsa(DOCUMENTS, 48, seed=seed)[0] for seed in (0, 0, 1))

    assert first.projection.tobytes() == second.projection.tobytes()
    assert first.projection.tobytes() != other.projection.tobytes()


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(LlmopsError, match="2 chunks: not one word"):
        fit_lsa(["...", "!!!"], 48, seed=0)


def test_an_embedder_comes_back_from_its_files(root: str, tmp_path: Path) -> None:
    embedder, vectors = fit_lsa(DOCUMENTS, 48, seed=0)

    description = store(embedder, root, tmp_path)
    loaded = open_embedder(description, f"{root}/index.json")

    assert loaded.num_dimensions == 48
    assert (loaded.embed(DOCUMENTS) * vectors).sum(axis=1).min() > 0.9999  # stored in half precision


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    folder = str(tmp_path / "index")
    description = store(fit_lsa(DOCUMENTS, 48, seed=0)[0], folder, tmp_path)

    lacking = description.model_copy(update={"files": description.files[:1]})
    with pytest.raises(LlmopsError, match=r"no lsa\.safetensors"):
        open_embedder(lacking, f"{folder}/index.json")
    Path(folder, description.files[1].path).write_bytes(b"cut")
    with pytest.raises(LlmopsError, match="is damaged"):
        open_embedder(description, f"{folder}/index.json")


def test_questions_need_no_scipy() -> None:
    code = "import sys; import llmops_shared.retrieval.search, llmops_shared.retrieval.lsa; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"scipy", "sklearn", "torch", "mlflow", "boto3", "threadpoolctl"} & set(loaded)


def store(embedder: LsaEmbedder, root: str, scratch: Path) -> index.Embedder:
    files = [store_part(root, f"embedder/{path.name}", path) for path in embedder.save(scratch)]
    return index.Embedder(kind="lsa", model="", files=files, num_dimensions=embedder.num_dimensions)
