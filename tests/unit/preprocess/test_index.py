"""`llmops-preprocess index`, over a real PostgreSQL."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from llmops_preprocess.cli import main
from llmops_shared.contracts import DatasetManifest, RetrievalIndex
from llmops_shared.documents import read_document, write_document
from llmops_shared.retrieval.pgserver import EmbeddedServer
from llmops_shared.retrieval.search import open_index
from llmops_shared.rows import TextRow
from support.text_dataset import text_row, write_text_dataset

ROWS = [
    text_row("shutil.copytree", "function shutil.copytree(src, dst)\n\nRecursively copy a directory tree.\n\nReturns the destination."),
    text_row("shutil.rmtree", "function shutil.rmtree(path)\n\nRecursively delete a directory tree."),
    text_row("json.dumps", "function json.dumps(obj)\n\nSerialize an object to a JSON formatted string."),
    text_row("math.sqrt", "function math.sqrt(x)\n\nReturn the square root of x."),
]


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    folder = str(tmp_path / "a dataset")
    write_text_dataset(folder, {"train": ROWS[:2], "validation": ROWS[2:3], "test": ROWS[3:]})
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database for many indexes: making one, starting and stopping it takes two seconds."""
    folder = tmp_path_factory.mktemp("store") / "pgdata"
    server = EmbeddedServer(folder, create=True)
    yield f"pgserver:{folder}"
    server.close()


def index(dataset: str, out: str, *words: str) -> int:
    return main(["index", f"dataset={dataset}", f"out={out}", "embedder.num_dimensions=48", *words])


def test_documents_of_all_splits_are_found_by_a_question(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "an index")

    assert index(dataset, out) == 0

    document = read_document(out, RetrievalIndex)
    assert json.loads(capsys.readouterr().out) == document.model_dump(mode="json")
    assert (document.name, document.num_documents, document.num_chunks) == ("library", 4, 4)
    assert document.dataset.uri == "../a dataset/dataset.json"
    assert re.fullmatch(r"library_[0-9a-f]{16}", document.store.table)
    assert document.store.uri == "pgserver:pgdata"
    chunks = [json.loads(line) for line in Path(out, document.chunks.path).read_text().splitlines()]
    assert chunks[3] == {
        "chunk_id": "row-math.sqrt:0",
        "document_id": "row-math.sqrt",
        "text": ROWS[3].text.replace("\n\n", "\n", 1),
        "source": "python:3.11.7/math.sqrt",
        "title": "math.sqrt",
        "metadata": {"qualified_name": "math.sqrt"},
    }
    with open_index(out) as searcher:
        assert searcher.search("What does shutil.copytree do?", 1).chunks[0].document_id == "row-shutil.copytree"
        assert searcher.search("square root", 1).chunks[0].document_id == "row-math.sqrt"


def test_only_the_splits_asked_for_are_indexed(dataset: str, store: str, tmp_path: Path) -> None:
    assert index(dataset, str(tmp_path / "index"), f"store={store}", "splits=[train, test]", "name=two") == 0

    document = read_document(str(tmp_path / "index"), RetrievalIndex)
    assert (document.name, document.num_documents) == ("two", 3)


def test_nothing_changed_keeps_the_index_and_starts_no_database(dataset: str, tmp_path: Path) -> None:
    out = tmp_path / "index"
    assert index(dataset, str(out)) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}

    words = ["index", f"dataset={dataset}", f"out={out}", "embedder.num_dimensions=48"]
    code = f"import sys; from llmops_preprocess.cli import main; status = main({words!r}); print(status, *sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    status, *loaded = done.stderr.splitlines()[-1].split()
    assert status == "0"
    assert json.loads(done.stdout)["kind"] == "index"
    assert not {"numpy", "psycopg", "tokenizers", "scipy", "mlflow", "torch"} & set(loaded)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_the_same_input_gives_the_same_document(dataset: str, store: str, tmp_path: Path) -> None:
    assert index(dataset, str(tmp_path / "one"), f"store={store}") == 0
    assert index(dataset, str(tmp_path / "two"), f"store={store}") == 0

    assert (tmp_path / "one" / "index.json").read_bytes() == (tmp_path / "two" / "index.json").read_bytes()


def test_other_settings_do_not_overwrite_an_index(dataset: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert index(dataset, str(tmp_path / "index"), f"store={store}") == 0

    assert index(dataset, str(tmp_path / "index"), f"store={store}", "max_chunk_tokens=64") == 2

    assert "made from other settings or inputs (max_chunk_tokens)" in capsys.readouterr().err


def test_a_killed_run_is_completed_by_the_next(dataset: str, tmp_path: Path) -> None:
    out = tmp_path / "index"
    code = f"from llmops_preprocess.cli import main; main(['index', 'dataset={dataset}', 'out={out}', 'embedder.num_dimensions=48'])"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
        wait_for(out / "pgdata" / "data" / "postmaster.pid", run)
        run.send_signal(signal.SIGKILL)
    assert not (out / "index.json").exists()

    assert index(dataset, str(out)) == 0

    with open_index(str(out)) as searcher:
        assert len(searcher.search("directory", 10).chunks) == 4
    assert not (out / "pgdata" / "data" / "postmaster.pid").exists()  # also what the killed run had started


def wait_for(path: Path, run: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_real_text_is_found_and_the_graph_finds_true_neighbours(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [text_row(f"topics.{name}", text.strip()) for name, text in sorted(topics.items())]
    write_text_dataset(str(tmp_path / "text"), {"train": rows})

    assert main(["index", f"dataset={tmp_path}/text", f"out={tmp_path}/index", f"store={store}"]) == 0

    document = read_document(str(tmp_path / "index"), RetrievalIndex)
    figures = probe_figures(capsys.readouterr().err)
    assert document.num_chunks >= 1000  # from here on there is a graph
    assert figures["vector_recall_at_10"] >= 0.95
    assert figures["probe_recall_at_5"] >= 0.8
    assert figures["chunk_tokens_max"] <= document.max_chunk_tokens == 96
    with open_index(str(tmp_path / "index")) as searcher:
        found = searcher.search("How does the assert statement work?", 3)
    assert "row-topics.assert" in [chunk.document_id for chunk in found.chunks]


def probe_figures(log: str) -> dict[str, float]:
    line = next(line for line in log.splitlines() if " probe: " in line)
    return {name: float(value) for name, value in re.findall(r"(\w+) ([\d.e+-]+)", line.partition(" probe: ")[2])}


@pytest.mark.slow  # the import of mlflow
def test_figures_go_to_mlflow(dataset: str, store: str, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    assert index(dataset, str(tmp_path / "index"), f"store={store}", f"tracking.uri={uri}") == 0

    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("llmops")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["llmops.stage"] == "index"
    assert run.data.params["embedder.kind"] == "lsa"
    assert run.inputs.dataset_inputs[0].dataset.name == "library"
    assert run.data.metrics["num_chunks"] == 4
    assert run.data.metrics["probe_recall_at_5"] == 1.0
    assert {"probe_recall_at_1", "probe_mean_reciprocal_rank", "vector_recall_at_10", "chunk_tokens_p50", "embedding_s"} <= set(
        run.data.metrics
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["embedder.kind=word2vec"],
            "embedder.kind: Input should be 'lsa', 'sentence-transformers', 'tei', 'sagemaker', 'bedrock' or 'none' (got 'word2vec')",
        ),
        (["embedder.model=some/model"], "lsa is fitted on the chunks and takes no model (got some/model)"),
        (["embedder={kind: sentence-transformers}"], "sentence-transformers needs model="),
        (["splits=[training]"], "splits training: not in"),
        (
            ["store=mysql://host/x"],
            "store mysql://host/x: is none of the words pgvector, opensearch, kendra, and no pgserver:FOLDER, postgresql://",
        ),
        (["store=postgresql://me@127.0.0.1:1/x"], "postgresql://me@127.0.0.1:1/x: PostgreSQL does not answer"),
        (["max_chunk_token=64"], "max_chunk_token: unknown key; did you mean max_chunk_tokens?"),
        (["max_chunk_tokens=8"], "max_chunk_tokens: Input should be greater than or equal to 32 (got 8)"),
        (["dataset=nowhere"], "nowhere/dataset.json: there is no such DatasetManifest; run the stage that writes it, or correct the path"),
    ],
)
def test_bad_settings_give_one_clear_message(
    words: list[str], message: str, dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", f"dataset={dataset}", f"out={tmp_path}/index", *words]) == 2

    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not (tmp_path / "index" / "index.json").exists()


def test_a_password_is_never_written_or_shown(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", f"dataset={dataset}", f"out={tmp_path}/index", "store=postgresql://me:secret@host/x"]) == 2

    message = capsys.readouterr().err
    assert "give it in PGPASSWORD or in ~/.pgpass" in message
    assert "secret" not in message
    assert not (tmp_path / "index").exists()


def test_an_embedded_store_and_s3_do_not_go_together(dataset: str, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert index(dataset, f"{bucket}/index") == 2

    assert f"needs a local folder, not {bucket}/index/pgdata; give store=postgresql://" in capsys.readouterr().err


def test_a_chat_dataset_and_an_empty_one_are_refused(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = read_document(dataset, DatasetManifest)
    write_document(str(tmp_path / "chat"), manifest.model_copy(update={"view": "chat"}))
    empty: dict[str, list[TextRow]] = {"train": []}
    write_text_dataset(str(tmp_path / "empty"), empty)

    assert index(str(tmp_path / "chat"), str(tmp_path / "index")) == 2
    assert "is a chat dataset, and an index is made of documents" in capsys.readouterr().err
    assert index(str(tmp_path / "empty"), str(tmp_path / "index2")) == 2
    assert "has no rows in train; there is nothing to index" in capsys.readouterr().err


def test_damaged_rows_are_named(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = next(Path(dataset).glob("train/rows.jsonl"))
    rows.write_text(rows.read_text().replace("tree", "twig"))

    assert index(dataset, str(tmp_path / "index")) == 2

    assert "train/rows.jsonl: is damaged: size or sha256 differ" in capsys.readouterr().err


def test_a_half_written_document_is_moved_aside(dataset: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "index"
    out.mkdir()
    (out / "index.json").write_text('{"schema_version": 1, "kind"')

    assert index(dataset, str(out), f"store={store}") == 2
    assert "was half-written by an interrupted run" in capsys.readouterr().err
    assert index(dataset, str(out), f"store={store}") == 0
