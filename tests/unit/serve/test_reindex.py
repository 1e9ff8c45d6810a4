"""`llmops-serve reindex`: another index, or another way to search it, in the next generation."""

import json
from pathlib import Path

import pytest

from llmops_serve.cli import main
from llmops_shared.contracts import Endpoint, Part, Reference, RetrievalIndex
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.contracts.index import Embedder, VectorStore
from llmops_shared.documents import follow, read_document, write_document


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """An endpoint without an index, and two indexes."""
    for name in ("docs", "news"):
        index = RetrievalIndex(
            name=name, dataset=Reference(uri="../text/dataset.json", sha256="0" * 64), num_documents=0, num_chunks=0, max_chunk_tokens=1,
            chunks=Part(path="chunks.jsonl", size_bytes=0, sha256=""), embedder=Embedder(kind="lsa", model="", files=[], num_dimensions=1),
            store=VectorStore(uri="pgserver:pg", table=name),
        )  # fmt: skip
        write_document(str(tmp_path / "indexes" / name), index)
    variant = Variant(name="production", package=Reference(uri="../package/package.json", sha256="0" * 64))
    endpoint = Endpoint(
        name="rag", generation=1, previous=None, reason="deploy", evidence=None, variants=[variant], retrieval=None, capture=None
    )
    write_document(str(tmp_path / "one"), endpoint)
    return tmp_path


def reindex(scene: Path, before: str, after: str, *words: str) -> int:
    return main(["reindex", f"endpoint={scene}/{before}", f"out={scene}/{after}", *words])


def test_a_new_index_keeps_the_settings_and_the_rest(scene: Path) -> None:
    assert reindex(scene, "one", "two", f"index={scene}/indexes/docs", "retrieval={search: text, when_empty: refuse}") == 0
    assert reindex(scene, "two", "deep/three", f"index={scene}/indexes/news") == 0

    one, two, three = (read_document(f"{scene}/{name}", Endpoint) for name in ("one", "two", "deep/three"))
    assert (two.generation, two.reason, three.generation, three.reason) == (2, "reindex docs", 3, "reindex news")
    assert two.retrieval is not None and three.retrieval is not None
    assert (three.retrieval.search, three.retrieval.when_empty) == ("text", "refuse")
    assert follow(two.retrieval.index, f"{scene}/two", RetrievalIndex)[1].name == "docs"
    assert follow(three.retrieval.index, f"{scene}/deep/three", RetrievalIndex)[1].name == "news"
    assert two.variants == one.variants
    assert three.previous is not None and three.previous.uri == "../../two/endpoint.json"


def test_the_same_index_in_another_way(scene: Path) -> None:
    assert reindex(scene, "one", "two", f"index={scene}/indexes/docs") == 0

    assert reindex(scene, "two", "three", "retrieval.num_chunks=7") == 0

    retrieval = read_document(f"{scene}/three", Endpoint).retrieval
    assert retrieval is not None
    assert (retrieval.num_chunks, retrieval.search, retrieval.index.uri) == (7, None, "../indexes/docs/index.json")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give index=, retrieval.*=, or both"),
        (["retrieval.num_chunks=7"], "has no index whose retrieval could change; give index="),
        (["index=nowhere"], "nowhere/index.json: there is no such RetrievalIndex"),
        (["retrieval.template=Hello"], "retrieval: template: needs the place {context}"),
        (["retrieval.reranker.kind=tei"], "reranker tei needs url="),
    ],
)
def test_what_would_not_work_is_told(scene: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert reindex(scene, "one", "two", *words) == 2

    assert message in capsys.readouterr().err
    assert not (scene / "two" / "endpoint.json").exists()


def test_a_half_written_index_is_never_served(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = scene / "indexes" / "docs" / "index.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"num_chunks": -1}))

    assert reindex(scene, "one", "two", f"index={scene}/indexes/docs") == 2

    assert "is not a complete RetrievalIndex" in capsys.readouterr().err
