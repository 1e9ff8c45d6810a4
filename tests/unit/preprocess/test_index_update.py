"""Indexes after the first: what is taken over, what a run that was cut off keeps, generations side by side, and other stores."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_preprocess.cli import main
from llmops_shared.contracts import Platform, RetrievalIndex
from llmops_shared.documents import read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.pgserver import EmbeddedServer
from llmops_shared.retrieval.search import open_index
from llmops_shared.rows import TextRow
from support.kendra_server import KendraIndex
from support.loopback import Answer, Request, loopback
from support.opensearch_server import Collection
from support.sigv4 import ACCESS_KEY, SECRET_KEY
from support.text_dataset import text_row, write_text_dataset

ROWS = [text_row(f"lib.f{number}", f"function lib.f{number}(x)\n\nDoes thing {number} to the {word}.") for number, word in enumerate(
    "tree file path list queue lock socket thread string number date time zone color sound image table graph node edge".split()
)]  # fmt: skip


def changed(row: TextRow, text: str) -> TextRow:
    """Another text from the same source; its id is a digest of both."""
    return row.model_copy(update={"id": f"{row.id}-changed", "text": text})


LATER = [
    *ROWS[1:-1],
    changed(ROWS[-1], "function lib.f19(x)\n\nDoes another thing to the edge."),
    text_row("lib.new", "function lib.new(x)\n\nIs new."),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("store") / "pgdata"
    server = EmbeddedServer(folder, create=True)
    yield f"pgserver:{folder}"
    server.close()


@pytest.fixture
def datasets(tmp_path: Path) -> tuple[str, str]:
    """A dataset, and the same later: one document gone, one changed, one new."""
    write_text_dataset(str(tmp_path / "text"), {"train": ROWS})
    write_text_dataset(str(tmp_path / "later"), {"train": LATER})
    return str(tmp_path / "text"), str(tmp_path / "later")


class Tei:
    """An embedding server that remembers its texts; it hangs when `hangs_at` texts were embedded."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.hangs_at: int | None = None
        self.hanging = threading.Event()

    def answer(self, request: Request) -> Answer:
        texts = json.loads(request.body)["inputs"]
        known = self.texts  # a request of a killed run, answered late, is none of the next one's
        if self.hangs_at is not None and len(self.texts) >= self.hangs_at:
            self.hanging.set()
            time.sleep(60)
        known += texts
        return 200, [[float(1 + sum(text.encode()) % number) for number in range(2, 10)] for text in texts]


@pytest.fixture
def tei() -> Iterator[tuple[Tei, str]]:
    server = Tei()
    with loopback(server.answer) as url:
        yield server, url


def index(dataset: str, out: str, *words: str) -> int:
    return main(["index", f"dataset={dataset}", f"out={out}", *words])


def test_only_what_changed_is_embedded_and_the_counts_are_told(
    datasets: tuple[str, str], store: str, tei: tuple[Tei, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server, url = tei
    words = (f"store={store}", f"embedder={{kind: tei, url: '{url}'}}", "num_probes=0")
    assert index(datasets[0], f"{tmp_path}/one", *words) == 0
    assert index(datasets[1], f"{tmp_path}/anew", *words) == 0
    server.texts.clear()

    assert index(datasets[1], f"{tmp_path}/two", f"previous={tmp_path}/one", *words) == 0

    document, anew = (read_document(f"{tmp_path}/{name}", RetrievalIndex) for name in ("two", "anew"))
    assert document.update is not None
    counts = {name: value for name, value in document.update.model_dump().items() if name.startswith("num_")}
    assert counts == {"num_new": 1, "num_changed": 1, "num_unchanged": 18, "num_removed": 1, "num_embedded": 2}
    assert [text for text in server.texts if text != "dimensions"] == [
        "function lib.f19(x)\nDoes another thing to the edge.",
        "function lib.new(x)\nIs new.",
    ]
    assert document.update.previous.uri == "../one/index.json"
    assert document.vectors == anew.vectors  # the same bytes as if all had been embedded
    assert document.store.table == anew.store.table
    assert "embedded 2 of 20 chunks" in capsys.readouterr().err


def test_the_index_before_answers_until_and_after_the_next_is_complete(datasets: tuple[str, str], store: str, tmp_path: Path) -> None:
    words = (f"store={store}", "embedder.num_dimensions=48", "num_probes=0")
    assert index(datasets[0], f"{tmp_path}/one", *words) == 0
    with open_index(f"{tmp_path}/one") as before:
        assert index(datasets[1], f"{tmp_path}/two", f"previous={tmp_path}/one", *words) == 0

        assert before.search("lib.f0", 1).chunks[0].document_id == "row-lib.f0"
        assert "another" not in before.search("lib.f19", 1).chunks[0].text
    with open_index(f"{tmp_path}/two") as after:
        assert "another" in after.search("lib.f19", 1).chunks[0].text
        assert after.search("lib.f0", 1, filters={"qualified_name": ["lib.f0"]}).chunks == []

    assert main(["drop", f"{tmp_path}/one"]) == 0

    with pytest.raises(LlmopsError, match="has no such table as library_"):
        open_index(f"{tmp_path}/one")
    open_index(f"{tmp_path}/two").close()
    assert main(["drop", f"index={tmp_path}/one"]) == 0  # nothing to do


def test_lsa_stays_as_it_was_for_little_and_learns_anew_from_much(datasets: tuple[str, str], store: str, tmp_path: Path) -> None:
    words = (f"store={store}", "num_probes=0")
    small = "embedder={num_dimensions: 48, refit_share: %s}"
    assert index(datasets[0], f"{tmp_path}/one", small % 0.2, *words) == 0
    first = read_document(f"{tmp_path}/one", RetrievalIndex)

    assert index(datasets[1], f"{tmp_path}/kept", f"previous={tmp_path}/one", small % 0.2, *words) == 0
    assert index(datasets[1], f"{tmp_path}/refitted", f"previous={tmp_path}/one", small % 0.05, *words) == 0

    kept, refitted = (read_document(f"{tmp_path}/{name}", RetrievalIndex) for name in ("kept", "refitted"))
    assert [part.sha256 for part in kept.embedder.files] == [part.sha256 for part in first.embedder.files]
    assert [part.sha256 for part in refitted.embedder.files] != [part.sha256 for part in first.embedder.files]
    assert kept.update is not None and refitted.update is not None
    assert (kept.update.num_embedded, refitted.update.num_embedded) == (2, 20)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["embedder={kind: tei, url: 'http://127.0.0.1:9'}"], "its embedder has kind lsa, not tei; leave previous out to embed all anew"),
        (["embedder.num_dimensions=96"], "its embedder has num_dimensions 48, not 96"),
    ],
)
def test_vectors_of_another_embedder_are_not_taken_over(
    datasets: tuple[str, str], store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert index(datasets[0], f"{tmp_path}/one", f"store={store}", "embedder.num_dimensions=48", "num_probes=0") == 0

    assert index(datasets[1], f"{tmp_path}/two", f"store={store}", f"previous={tmp_path}/one", *words) == 2

    assert message in capsys.readouterr().err


def test_vectors_that_were_not_kept_are_missed_by_name(
    datasets: tuple[str, str], store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"store={store}", "embedder.num_dimensions=48", "num_probes=0")
    assert index(datasets[0], f"{tmp_path}/one", "keep_vectors=false", *words) == 0
    assert not (tmp_path / "one" / "vectors.npy").exists()

    assert index(datasets[1], f"{tmp_path}/two", f"previous={tmp_path}/one", *words) == 2

    assert "kept no vectors to take over; leave previous out this once" in capsys.readouterr().err


@pytest.mark.chaos
@pytest.mark.slow
def test_a_run_killed_while_it_embeds_goes_on_where_it_was(store: str, tei: tuple[Tei, str], tmp_path: Path) -> None:
    server, url = tei
    rows = [text_row(f"lib.g{number}", f"function lib.g{number}(x)\n\nDoes thing {number} of many.") for number in range(2500)]
    write_text_dataset(str(tmp_path / "many"), {"train": rows})
    words = [
        "index",
        f"dataset={tmp_path}/many",
        f"out={tmp_path}/index",
        f"store={store}",
        f"embedder={{kind: tei, url: '{url}'}}",
        "num_probes=0",
    ]
    server.hangs_at = 1600  # in the middle of the second part
    code = f"from llmops_preprocess.cli import main; main({words!r})"
    environment = {**os.environ, "NO_PROXY": "*"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment) as run:
        assert server.hanging.wait(120)
        run.send_signal(signal.SIGKILL)
    assert not (tmp_path / "index" / "index.json").exists()
    server.hangs_at = None
    server.texts = []

    assert main(words) == 0

    assert len([text for text in server.texts if text != "dimensions"]) == 2500 - 1024
    with open_index(f"{tmp_path}/index") as searcher:
        assert searcher.search("lib.g2400", 1, search="text").chunks[0].document_id == "row-lib.g2400"
    assert not list((tmp_path / "index").glob("embedding/*"))


def test_a_dry_run_tells_what_would_be_done(
    datasets: tuple[str, str], store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert index(datasets[0], f"{tmp_path}/one", f"store={store}", "embedder.num_dimensions=48", "num_probes=0") == 0
    capsys.readouterr()

    assert index(datasets[1], f"{tmp_path}/two", f"previous={tmp_path}/one", "--dry-run") == 0

    plan = json.loads(capsys.readouterr().out)["plan"]
    assert {name: plan[name] for name in ("store", "num_documents", "num_chunks", "num_new", "num_changed", "num_removed", "num_embedded")} == {
        "store": "pgserver:pgdata", "num_documents": 20, "num_chunks": 20, "num_new": 1, "num_changed": 1, "num_removed": 1, "num_embedded": 2,
    }  # fmt: skip
    assert not (tmp_path / "two").exists()


INDEX_ID = "12345678-1234-1234-1234-123456789012"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    for name, value in {"ACCESS_KEY_ID": ACCESS_KEY, "SECRET_ACCESS_KEY": SECRET_KEY, "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the credentials of the test before
    monkeypatch.setattr("time.sleep", lambda _: None)  # the service's polls


def test_the_same_command_writes_to_opensearch(
    datasets: tuple[str, str], tmp_path: Path, aws: None, capsys: pytest.CaptureFixture[str]
) -> None:
    collection = Collection()
    with loopback(collection.answer) as url:
        words = (f"store=opensearch:{url}?region=us-east-1", "embedder.num_dimensions=48", "num_probes=5")
        assert index(datasets[0], f"{tmp_path}/one", *words) == 0
        document = read_document(f"{tmp_path}/one", RetrievalIndex)
        assert "vector_recall_at_10 1" in capsys.readouterr().err

        with open_index(f"{tmp_path}/one") as searcher:
            assert searcher.search("lib.f7", 1, filters={"qualified_name": ["lib.f7"]}).chunks[0].document_id == "row-lib.f7"
        assert main(["drop", f"{tmp_path}/one"]) == 0

    assert document.store.table.startswith("library_")
    assert collection.documents == {}


def test_the_same_command_writes_to_kendra_which_needs_no_embedder(
    datasets: tuple[str, str], tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = KendraIndex(INDEX_ID)
    with loopback(service.answer) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KENDRA", url)
        assert index(datasets[0], f"{tmp_path}/one", f"store=kendra:{INDEX_ID}?region=us-east-1", "embedder.kind=none", "num_probes=5") == 0

        document = read_document(f"{tmp_path}/one", RetrievalIndex)
        with open_index(f"{tmp_path}/one") as searcher:
            found = searcher.search("what is done to the socket", 1)
        assert main(["drop", f"{tmp_path}/one"]) == 0

    assert (document.embedder.kind, document.embedder.num_dimensions, document.vectors) == ("none", 0, None)
    assert (found.chunks[0].document_id, found.chunks[0].score) == ("row-lib.f6", 1.0)
    assert service.documents == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["store=kendra"], "store kendra: is made by Terraform; give platform=, its Platform document"),
        ([f"store=kendra:{INDEX_ID}"], "reads the text itself; set embedder.kind=none"),
        (["embedder.kind=none"], "store pgvector needs vectors; choose another embedder.kind"),
        (["store=pgserver:x", "platform=p.json"], "platform says where the store pgvector is, and store=pgserver:x does, too"),
        (["embedder.kind=tei"], "tei needs url=, the server's address"),
        (["embedder.kind=bedrock"], "bedrock needs model=, a model id, such as amazon.titan-embed-text-v2:0"),
        (["chunker=tokens", "overlap_sentences=1"], "overlap_sentences: the chunker tokens knows no sentences; give overlap_tokens"),
        (["overlap_tokens=8"], "overlap_tokens: is for the chunker tokens, not auto; give overlap_sentences"),
        (["store=aurora://me@db/x"], "its region is not in the host name; add ?region="),
    ],
)
def test_settings_that_do_not_go_together_are_told(
    datasets: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert index(datasets[0], f"{tmp_path}/one", *words) == 2

    assert message in capsys.readouterr().err
    assert not (tmp_path / "one").exists()


def test_one_word_takes_the_store_from_the_platform(datasets: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [name for name, field in Platform.model_fields.items() if field.is_required()]
    training = {"instance_type": "ml.g5.xlarge", "num_instances": 1, "efa": False, "spot": False}
    training |= {"warm_pool_s": 0, "max_runtime_s": 1, "max_wait_s": 1}
    given = {"region": "eu-west-1", "training": training, "pgvector_host": "db.cluster-x.eu-west-1.rds.amazonaws.com"}
    given["opensearch_endpoint"] = "https://abc.eu-west-1.aoss.amazonaws.com"
    lists = {"subnet_ids": ["a"], "job_security_group_ids": ["a"], "key_arns": {}, "role_arns": {}, "repository_urls": {}}
    values = {**dict.fromkeys(names, "a"), **lists, **given}
    (tmp_path / "platform.json").write_text(
        json.dumps({name: {"value": value} for name, value in values.items()})
    )  # as Terraform prints it

    def place(word: str, *words: str) -> str:
        assert index(datasets[0], f"{tmp_path}/one", f"store={word}", f"platform={tmp_path}/platform.json", "--dry-run", *words) == 0
        return str(json.loads(capsys.readouterr().out)["plan"]["store"])

    assert place("pgvector") == "aurora://retrieval@db.cluster-x.eu-west-1.rds.amazonaws.com:5432/retrieval?region=eu-west-1"
    assert place("opensearch") == "opensearch:https://abc.eu-west-1.aoss.amazonaws.com"
    assert index(datasets[0], f"{tmp_path}/one", "store=kendra", f"platform={tmp_path}/platform.json", "embedder.kind=none") == 2
    assert "has none; switch it on under `retrieval:` and apply" in capsys.readouterr().err
