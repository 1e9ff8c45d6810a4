"""One contract for every vector store: PostgreSQL, embedded and behind an IAM login as Aurora's, OpenSearch Serverless and Kendra."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import pytest

from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.kendra import Kendra
from llmops_shared.retrieval.lsa import LsaEmbedder, fit_lsa
from llmops_shared.retrieval.opensearch import OpenSearchServerless
from llmops_shared.retrieval.pgserver import EmbeddedServer
from llmops_shared.retrieval.store import ChunkStore, Query, StoredChunk, open_store
from support.aurora_proxy import AuroraProxy, aurora
from support.chunks import chunks_of
from support.kendra_server import KendraIndex
from support.loopback import loopback
from support.opensearch_server import Collection
from support.sigv4 import ACCESS_KEY, SECRET_KEY

TEXTS = {
    "shutil.copytree": "function shutil.copytree(src, dst)\nRecursively copy a directory tree and return the destination directory.",
    "shutil.rmtree": "function shutil.rmtree(path)\nRecursively delete a directory tree.",
    "json.dumps": "function json.dumps(obj)\nSerialize an object to a JSON formatted string.",
    "collections.OrderedDict": "class collections.OrderedDict\nDictionary that remembers insertion order.",
    "os.path.join": "function os.path.join(path, *paths)\nJoin path components; see shutil.copytree to copy what is below.",
    "math.sqrt": "function math.sqrt(x)\nReturn the square root of x. Größe, naïve, 日本語.",
}
METADATA = [{"module": name.rpartition(".")[0], "kind": text.split()[0], "share": "5 % of 'it'"} for name, text in TEXTS.items()]
CHUNKS = chunks_of(list(TEXTS.values()), list(TEXTS), METADATA)
IDS = [chunk.chunk_id for chunk in CHUNKS]
INDEX_ID = "12345678-1234-1234-1234-123456789012"


@dataclass
class Place:
    """A store under test."""

    kind: str
    uri: str
    embedder: LsaEmbedder
    vectors: Any
    """None where the store reads the text itself."""
    opened: list[ChunkStore]

    def open(self) -> ChunkStore:
        match self.kind:
            case "opensearch":
                store: ChunkStore = OpenSearchServerless(self.uri, poll_s=0.01)
            case "kendra":
                store = Kendra(self.uri, poll_s=0.01)
            case _:
                store = open_store(self.uri, "/nowhere")
        self.opened.append(store)
        return store

    def query(self, text: str, num_chunks: int, **words: Any) -> Query:
        vector = None if self.vectors is None else self.embedder.embed_questions([text])[0]
        return Query(text, vector, num_chunks, **words)


@pytest.fixture(scope="module", autouse=True)
def credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        yield


@pytest.fixture(scope="module")
def lsa() -> tuple[LsaEmbedder, Any]:
    return fit_lsa(list(TEXTS.values()), 96, seed=0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path_factory.mktemp("server") / "pgdata", create=True)
    with psycopg.connect(server.connection, autocommit=True) as connection:
        connection.execute("CREATE ROLE retrieval SUPERUSER LOGIN")
        connection.execute("CREATE DATABASE retrieval OWNER retrieval")
    yield server
    server.close()


@pytest.fixture(scope="module")
def proxy(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuroraProxy]:
    with aurora(server.data / ".s.PGSQL.5432", tmp_path_factory.mktemp("tls"), "retrieval", "eu-west-1") as proxy:
        yield proxy


def aurora_uri(proxy: AuroraProxy) -> str:
    return f"aurora://retrieval@localhost:{proxy.port}/retrieval?region=eu-west-1&sslrootcert={proxy.certificate}"


@pytest.fixture(scope="module", params=["pgvector", "aurora", "opensearch", "kendra"])
def place(request: pytest.FixtureRequest, lsa: tuple[LsaEmbedder, Any]) -> Iterator[Place]:
    embedder, vectors = lsa
    with ExitStack() as stack:
        match request.param:
            case "pgvector":
                uri = f"pgserver:{request.getfixturevalue('server').folder}"
            case "aurora":
                uri = aurora_uri(request.getfixturevalue("proxy"))
            case "opensearch":
                uri = f"opensearch:{stack.enter_context(loopback(Collection().answer))}?region=us-east-1"
            case _:
                url = stack.enter_context(loopback(KendraIndex(INDEX_ID).answer))
                stack.enter_context(pytest.MonkeyPatch.context()).setenv("AWS_ENDPOINT_URL_KENDRA", url)
                uri, vectors = f"kendra:{INDEX_ID}?region=us-east-1", None
        place = Place(request.param, uri, embedder, vectors, [])
        place.open().write("library", CHUNKS, vectors)
        yield place
        for store in place.opened:
            store.close()


def names(found: Sequence[Any]) -> list[str]:
    return [chunk.document_id for chunk in found]


def test_a_chunk_comes_back_whole_with_what_is_known_of_it(place: Place) -> None:
    (best, *_) = place.open().search("library", place.query("square root Größe 日本語", 3))

    assert (best.chunk_id, best.document_id, best.text) == ("math.sqrt:0", "math.sqrt", TEXTS["math.sqrt"])
    assert (best.source, best.title, dict(best.metadata)) == ("python:3.11.7/math.sqrt", "math.sqrt", METADATA[5])


def test_the_best_is_first_and_nothing_comes_twice(place: Place) -> None:
    store = place.open()

    for name in TEXTS:
        found = store.search("library", place.query(f"What does {name} do?", 3))
        assert name in names(found) if place.kind == "kendra" else names(found)[0] == name
        assert len(set(names(found))) == len(found) <= 3


def test_a_score_is_the_cosine_and_kendras_confidence(place: Place) -> None:
    query = place.query("What does shutil.copytree do to a directory tree?", 4)
    found = place.open().search("library", query)

    if place.vectors is None:
        assert [chunk.score for chunk in found] == [1.0, 0.75, 0.5, 0.25]
    else:
        right = dict(zip(TEXTS, place.vectors @ query.vector, strict=True))
        assert [chunk.score for chunk in found] == pytest.approx([right[name] for name in names(found)], abs=1e-4)


@pytest.mark.parametrize(
    ("filters", "fitting"),
    [
        ({"module": ["shutil"]}, {"shutil.copytree", "shutil.rmtree"}),
        ({"module": ["shutil", "json", "os.path"]}, {"shutil.copytree", "shutil.rmtree", "json.dumps", "os.path.join"}),
        ({"module": ["shutil", "json"], "kind": ["class"]}, set()),
        ({"kind": ["class"], "share": ["5 % of 'it'"]}, {"collections.OrderedDict"}),
        ({"module": ["shu", "%", "' OR true --"]}, set()),
    ],
)
def test_only_what_passes_the_filters_is_found(place: Place, filters: dict[str, list[str]], fitting: set[str]) -> None:
    found = place.open().search("library", place.query("function class copy directory json object dictionary path", 6, filters=filters))

    assert set(names(found)) == fitting


def test_a_generation_is_apart_from_the_one_before_until_that_is_dropped(place: Place) -> None:
    store, query = place.open(), place.query("delete a directory tree", 6)
    changed = [chunk._replace(text=chunk.text.replace("delete", "remove")) for chunk in CHUNKS[:2]]

    store.write("library_next", changed, None if place.vectors is None else place.vectors[:2])

    assert len(names(store.search("library_next", query))) <= 2
    assert {chunk.text for chunk in store.search("library_next", query)} <= {chunk.text for chunk in changed}
    assert "Recursively delete" in store.search("library", query)[0].text
    store.drop("library_next", IDS[:2])
    assert store.problem("library_next", IDS[:2]) is not None
    assert store.problem("library", IDS) is None
    store.drop("library_next", IDS[:2])


def test_what_is_missing_is_named(place: Place) -> None:
    store = place.open()

    assert store.problem("library", IDS) is None
    assert "nothing_here" in str(store.problem("nothing_here", IDS))
    store.write("short", CHUNKS[:4], None if place.vectors is None else place.vectors[:4])
    assert store.problem("short", IDS) is not None


def test_writing_again_replaces_what_was_left(place: Place) -> None:
    store = place.open()
    vectors = None if place.vectors is None else place.vectors[:3]
    store.write("again", CHUNKS[:3], vectors)

    store.write("again", CHUNKS[:3], vectors)

    found = store.search("again", place.query("copy delete directory tree json object", 6))
    assert sorted(names(found)) == ["json.dumps", "shutil.copytree", "shutil.rmtree"]


def test_an_empty_question_finds_nothing(place: Place) -> None:
    assert place.open().search("library", place.query(" ", 3)) == []


def test_eight_threads_get_what_one_gets(place: Place) -> None:
    store = place.open()
    queries = [place.query(f"What does {name} do?", 3) for name in TEXTS] * 4
    alone = [store.search("library", query) for query in queries]
    together: dict[int, object] = {}

    def ask(start: int) -> None:
        for number in range(start, len(queries), 8):
            together[number] = store.search("library", queries[number])

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [together[number] for number in range(len(queries))] == alone


def test_stores_with_vectors_search_in_three_ways(place: Place) -> None:
    if place.vectors is None:
        with pytest.raises(LlmopsError, match="Kendra searches in one way, by meaning and words; leave search= out"):
            place.open().search("library", place.query("copy", 3, search="vector"))
        return
    store = place.open()

    def found(search: Any, text: str = "copy what is below") -> list[str]:
        return names(store.search("library", place.query(text, 3, search=search)))

    # the words are in one chunk alone, and so is the meaning of a vector of another
    vector = place.vectors[list(TEXTS).index("json.dumps")]
    mixed = Query("remembers insertion", vector, 2, "hybrid")
    assert set(names(store.search("library", mixed))) == {"collections.OrderedDict", "json.dumps"}
    assert names(store.search("library", mixed._replace(search="vector")))[0] == "json.dumps"
    assert names(store.search("library", mixed._replace(search="text"))) == ["collections.OrderedDict"]
    assert found(None) == found("hybrid")
    unknown = Query("remembers insertion", np.zeros(96, dtype=np.float32), 3)
    assert names(store.search("library", unknown)) == ["collections.OrderedDict"]  # words only
    assert store.search("library", unknown._replace(search="vector")) == []


def test_all_near_chunks_are_found_however_many_are_asked_for(place: Place) -> None:
    if place.vectors is None:
        pytest.skip("Kendra gives passages with words of the question only")
    found = place.open().search("library", place.query("directory", 100, search="vector"))

    assert set(names(found)) == set(TEXTS)
    assert [chunk.score for chunk in found] == sorted((chunk.score for chunk in found), reverse=True)


def test_vectors_go_where_they_are_searched_and_nowhere_else(place: Place) -> None:
    wrong = np.eye(6, dtype=np.float32) if place.vectors is None else None

    with pytest.raises(LlmopsError, match=r"takes no vectors; set embedder.kind=none|embedder none makes no vectors"):
        place.open().write("wrong", CHUNKS, wrong)


# what only one of them does


@pytest.fixture
def opensearch() -> Iterator[Callable[..., tuple[OpenSearchServerless, Collection]]]:
    with ExitStack() as stack:

        def make(**words: Any) -> tuple[OpenSearchServerless, Collection]:
            collection = Collection(**words)
            store = OpenSearchServerless(f"opensearch:{stack.enter_context(loopback(collection.answer))}?region=us-east-1", poll_s=0.01)
            stack.callback(store.close)
            return store, collection

        yield make


Maker = Callable[..., tuple[OpenSearchServerless, Collection]]


def test_opensearch_sends_again_only_what_there_was_no_room_for(opensearch: Maker, lsa: tuple[LsaEmbedder, Any]) -> None:
    store, collection = opensearch(full=2)

    store.write("library", CHUNKS, lsa[1])

    assert sorted(document["chunk_id"] for document in collection.documents["library"]) == sorted(IDS)
    assert [path for _, path in collection.requests].count("/library/_bulk") == 3


def test_opensearch_refused_by_its_policy_says_what_to_do(opensearch: Maker, lsa: tuple[LsaEmbedder, Any]) -> None:
    store, _ = opensearch(region="eu-west-1")  # the signature is for another region

    with pytest.raises(LlmopsError, match="refuses this role .*add it to the data access policy"):
        store.write("library", CHUNKS, lsa[1])


def test_opensearch_that_does_not_take_a_chunk_says_why(opensearch: Maker, lsa: tuple[LsaEmbedder, Any]) -> None:
    store, _ = opensearch()

    with pytest.raises(LlmopsError, match="the request failed .*no space|must be lowercase"):
        store.write("Library", CHUNKS, lsa[1])
    with pytest.raises(LlmopsError, match=r"the search failed \(no such index \[missing\]\)"):
        store.search("missing", Query("copy", lsa[1][0], 3))


@pytest.fixture
def kendra(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Kendra, KendraIndex]]:
    index = KendraIndex(INDEX_ID, throttled=1)
    with loopback(index.answer) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KENDRA", url)
        store = Kendra(f"kendra:{INDEX_ID}?region=us-east-1", poll_s=0.01)
        yield store, index
        store.close()


def test_a_write_to_kendra_that_was_cut_off_goes_on_with_what_is_missing(kendra: tuple[Kendra, KendraIndex]) -> None:
    store, index = kendra
    many = [chunk._replace(chunk_id=f"{chunk.chunk_id}{number}") for number in range(5) for chunk in CHUNKS]
    store.write("library", many[:20], None)
    before = index.calls.count("BatchPutDocument")

    store.write("library", many, None)

    assert before == 2 + 1  # the first was refused for its rate
    assert index.calls.count("BatchPutDocument") - before == 1
    assert len(index.documents) == 30


def test_kendras_limits_are_told_before_it_is_asked(kendra: tuple[Kendra, KendraIndex]) -> None:
    store, index = kendra
    odd = CHUNKS[0]._replace(metadata={"what it is about": "x"})

    with pytest.raises(LlmopsError, match="metadata 'what it is about': is no name for a field of Kendra"):
        store.write("library", [odd], None)
    with pytest.raises(LlmopsError, match="filters: Kendra takes 9 keys at most, with 10 values each"):
        store.search("library", Query("copy", None, 3, filters={"module": [str(number) for number in range(11)]}))
    assert index.documents == {}


def test_aurora_gets_a_fresh_token_for_each_connection_and_never_in_the_uri(proxy: AuroraProxy, lsa: tuple[LsaEmbedder, Any]) -> None:
    before = len(proxy.logins)
    store = open_store(aurora_uri(proxy), "/nowhere")

    store.write("tokens", CHUNKS, lsa[1])
    store.close()
    again = open_store(aurora_uri(proxy), "/nowhere")
    assert again.problem("tokens", IDS) is None
    again.close()

    assert proxy.logins[before:] == [None, None]


def test_aurora_refuses_the_token_of_another_region(proxy: AuroraProxy) -> None:
    store = open_store(aurora_uri(proxy).replace("eu-west-1", "us-west-2"), "/nowhere")

    with pytest.raises(LlmopsError, match="PostgreSQL does not answer .*PAM authentication failed: signed for"):
        store.problem("tokens", IDS)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("aurora://retrieval@localhost/retrieval", r"its region is not in the host name; add \?region="),
        ("aurora://localhost/retrieval?region=us-east-1", "needs user, host and database"),
        ("aurora://me:secret@db.us-east-1.rds.amazonaws.com/x", "has a password in it"),
        ("opensearch:http://search.example.com?region=us-east-1", "would send documents in clear"),
        ("opensearch:https://search.example.com", "its region is not in the host name"),
        ("kendra:short", "'short' is no id of a Kendra index"),
        ("mysql://host/x", "is none of the words pgvector, opensearch, kendra"),
    ],
)
def test_a_place_that_cannot_be_is_refused(uri: str, message: str) -> None:
    from llmops_shared.retrieval.location import check_store

    with pytest.raises(LlmopsError, match=message):
        check_store(uri, "/nowhere")


def test_regions_are_read_from_the_names_that_aws_gives() -> None:
    from llmops_shared.retrieval.location import check_store, opensearch_place

    check_store("aurora://retrieval@vectors.cluster-abc.eu-central-1.rds.amazonaws.com/retrieval", "/nowhere")
    assert opensearch_place("opensearch:https://abc.us-gov-west-1.aoss.amazonaws.com")[1] == "us-gov-west-1"


# PostgreSQL's own


def many_chunks(num: int, dimensions: int = 8) -> tuple[list[StoredChunk], Any]:
    """Chunks around a few centres, a tenth of them of the module `rare`."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((20, dimensions))
    vectors = (centres[draw.integers(0, 20, num)] + 0.3 * draw.standard_normal((num, dimensions))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    metadata = [{"module": "rare" if number % 100 == 0 else "common"} for number in range(num)]
    texts = [f"word{number % 50} other{number}" for number in range(num)]
    return chunks_of(texts, [f"d{number}" for number in range(num)], metadata), vectors


def test_a_filter_that_few_pass_loses_no_neighbour_to_the_graph(server: EmbeddedServer) -> None:
    chunks, vectors = many_chunks(3000)
    store = open_store(f"pgserver:{server.folder}", "/nowhere")
    store.write("many", chunks, vectors)

    for number in range(0, 3000, 300):
        query = Query("", vectors[number + 7], 10, "vector", {"module": ["rare"]})
        right = sorted(range(0, 3000, 100), key=lambda place: -float(vectors[place] @ query.vector))[:10]
        assert names(store.search("many", query)) == [f"d{place}" for place in right]
    store.close()


def test_a_write_that_fails_leaves_the_table_as_it_was(server: EmbeddedServer, lsa: tuple[LsaEmbedder, Any]) -> None:
    store = open_store(f"pgserver:{server.folder}", "/nowhere")
    store.write("kept", CHUNKS[:1], lsa[1][:1])

    with pytest.raises(LlmopsError, match="table kept: cannot be filled .*unique"):
        store.write("kept", [CHUNKS[1], CHUNKS[1]], lsa[1][:2])

    assert store.problem("kept", IDS[:1]) is None
    store.close()


def test_too_many_dimensions_are_refused(server: EmbeddedServer) -> None:
    store = open_store(f"pgserver:{server.folder}", "/nowhere")

    with pytest.raises(LlmopsError, match="4096 dimensions: pgvector indexes at most 4000"):
        store.write("wide", CHUNKS[:1], np.ones((1, 4096), dtype=np.float32))
    store.close()


def test_a_table_of_an_earlier_version_is_told(server: EmbeddedServer) -> None:
    with psycopg.connect(server.connection, autocommit=True) as connection:
        connection.execute("CREATE TABLE older (chunk_id text PRIMARY KEY, document_id text, text text)")
    store = open_store(f"pgserver:{server.folder}", "/nowhere")

    assert store.problem("older", IDS) == "a table older of an earlier version of this software"
    store.close()


def test_scores_by_words_are_bm25(server: EmbeddedServer) -> None:
    """Against the textbook's formula, over the words as we cut them."""
    from llmops_shared.retrieval.bm25 import postings
    from llmops_shared.retrieval.lsa import count_words

    texts = list(TEXTS.values())
    counted = [count_words(text) for text in texts]
    mean = sum(sum(counts.values()) for counts in counted) / len(texts)

    found = {
        (one.word, int(number)): float(weight) for one in postings(texts) for number, weight in zip(one.numbers, one.weights, strict=True)
    }

    assert len(found) == sum(map(len, counted))
    for (word, number), weight in found.items():
        holders = sum(word in counts for counts in counted)
        count, length = counted[number][word], sum(counted[number].values())
        rarity = np.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
        assert weight == pytest.approx(rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / mean)), rel=1e-5)


def test_fusion_by_reciprocal_ranks() -> None:
    from llmops_shared.retrieval.fusion import reciprocal_rank_fusion

    assert reciprocal_rank_fusion([["a", "b", "c"], ["c", "d"]], 3) == ["c", "a", "b"]
    assert reciprocal_rank_fusion([["b"], ["a"]], 2) == ["a", "b"]
    assert reciprocal_rank_fusion([[], []], 2) == []


def test_json_of_the_metadata_is_what_was_written(server: EmbeddedServer) -> None:
    odd = CHUNKS[0]._replace(metadata={'key "with" quotes': "value\\ \n 日本", "empty": ""})
    store = open_store(f"pgserver:{server.folder}", "/nowhere")
    store.write("odd", [odd], np.eye(1, 8, dtype=np.float32))

    (found,) = store.search("odd", Query("copytree", None, 1, filters={'key "with" quotes': ["value\\ \n 日本"]}))

    assert json.dumps(dict(found.metadata), sort_keys=True) == json.dumps(dict(odd.metadata), sort_keys=True)
    store.close()
