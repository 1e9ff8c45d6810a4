"""The vector store in OpenSearch Serverless: an index with k-NN for each generation. Requests are signed for the service `aoss`.

What a vector collection does not do decides how this is written: it takes no document ids of ours, so a write that was cut off starts
over in a fresh index; it has no refresh on demand, so a write waits until everything is counted.
"""

import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from itertools import chain
from typing import Any

from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.fusion import reciprocal_rank_fusion
from llmops_shared.retrieval.location import opensearch_place
from llmops_shared.retrieval.lsa import count_words
from llmops_shared.retrieval.store import Filters, Floats, FoundChunk, Query, StoredChunk, need_vectors
from llmops_shared.retrieval.words import words

logger = logging.getLogger(__name__)

BATCH = 500  # documents in a bulk request, about 2.5 MB with 384 dimensions; requests may have 10 MB
TOO_MANY = 429
MAX_TRIES = 6  # of what the service has no room for at the moment
VISIBLE_S = 300.0  # new documents are found a minute after they were taken
POLL_S = 2.0
TIMEOUT_S = 30.0
EF_SEARCH = 200  # candidates looked at, as in PostgreSQL
FIELDS = ["chunk_id", "document_id", "text", "source", "title", "metadata"]


class OpenSearchServerless:
    """A collection of the type VECTORSEARCH; any number of threads may search at once."""

    def __init__(self, uri: str, poll_s: float = POLL_S) -> None:
        self.uri = uri
        self._url, self._region = opensearch_place(uri)
        if find_spec("opensearchpy") is None:
            raise LlmopsError(f"store {uri}: its client is not installed; pip install 'llmops-shared[opensearch]'")
        self._poll_s = poll_s

    @cached_property
    def _client(self) -> Any:
        # a search is harmless to repeat, in part of a second for a connection that was closed
        return self._connect(max_retries=3, retry_on_status=(429, 502, 503, 504))

    @cached_property
    def _writer(self) -> Any:
        return self._connect(max_retries=0)  # a bulk request that was taken and not answered would leave its chunks twice

    def _connect(self, **retries: Any) -> Any:
        import boto3
        from opensearchpy import OpenSearch, Urllib3AWSV4SignerAuth, Urllib3HttpConnection

        credentials = boto3.Session().get_credentials()
        if credentials is None:
            raise LlmopsError(f"store {self.uri}: there are no AWS credentials to sign requests with; set AWS_PROFILE or run with a role")
        signer = Urllib3AWSV4SignerAuth(credentials, self._region, "aoss")
        return OpenSearch([self._url], http_auth=signer, connection_class=Urllib3HttpConnection, maxsize=32, timeout=TIMEOUT_S, **retries)

    def write(self, generation: str, chunks: Sequence[StoredChunk], vectors: Floats | None) -> None:
        vectors = need_vectors(vectors, self.uri, len(chunks))
        with self._named():
            self.drop(generation, [])
            self._client.indices.create(index=generation, body=index_body(vectors.shape[1]))
            for start in range(0, len(chunks), BATCH):
                batch = [document(*pair) for pair in zip(chunks[start : start + BATCH], vectors[start : start + BATCH], strict=True)]
                self._bulk(generation, batch)
                logger.info("sent %d of %d chunks to index %s", start + len(batch), len(chunks), generation)
            self._wait_until_visible(generation, len(chunks))

    def _bulk(self, generation: str, documents: list[dict[str, Any]]) -> None:
        """Sends documents until each is taken; only those come again that were refused for lack of room."""
        wait_s = self._poll_s / 2
        for attempt in range(1, MAX_TRIES + 1):
            refused = [(one, item) for one, item in zip(documents, self._send(generation, documents), strict=True) if item["status"] >= 300]
            if broken := [item for _, item in refused if item["status"] != TOO_MANY]:
                raise LlmopsError(f"store {self.uri}, index {generation}: refuses a chunk ({broken[0]['error']['reason']})")
            if not refused:
                return
            documents = [one for one, _ in refused]
            logger.info("%d chunks refused for lack of room, attempt %d of %d", len(documents), attempt, MAX_TRIES)
            time.sleep(wait_s * random.uniform(0.5, 1))
            wait_s *= 2
        raise LlmopsError(f"store {self.uri}: has no room after {MAX_TRIES} tries; raise the collection's capacity limit and run again")

    def _send(self, generation: str, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What became of each document."""
        from opensearchpy.exceptions import TransportError

        try:
            lines = list(chain.from_iterable(({"index": {}}, one) for one in documents))
            answer = self._writer.bulk(index=generation, body=lines)
        except TransportError as error:
            if error.status_code != TOO_MANY:
                raise
            return [{"status": TOO_MANY}] * len(documents)
        return [item["index"] for item in answer["items"]]

    def _wait_until_visible(self, generation: str, num_chunks: int) -> None:
        deadline = time.monotonic() + VISIBLE_S
        while (found := self._count(generation)) < num_chunks:
            if time.monotonic() > deadline:
                raise LlmopsError(
                    f"store {self.uri}, index {generation}: shows {found} of {num_chunks} chunks after {VISIBLE_S:.0f} s; run again"
                )
            time.sleep(self._poll_s)
        if found > num_chunks:
            raise LlmopsError(f"store {self.uri}, index {generation}: has {found} chunks where {num_chunks} were sent; run again")

    def _count(self, generation: str) -> int:
        return int(self._client.count(index=generation)["count"])

    def problem(self, generation: str, chunk_ids: Sequence[str]) -> str | None:
        with self._named():
            if not self._client.indices.exists(index=generation):
                return f"no such index as {generation}"
            found = self._count(generation)
        return None if found == len(chunk_ids) else f"{found} documents as {generation}, where {len(chunk_ids)} chunks should be"

    def search(self, generation: str, query: Query) -> list[FoundChunk]:
        """A hybrid search is one request with two queries, and a second one for the cosine of what only its words brought up."""
        search = query.search or "hybrid"
        num = max(query.num_chunks, query.num_candidates) if search == "hybrid" else query.num_chunks
        bodies = {}
        if search != "text" and query.has_vector:
            bodies["vector"] = near_vector(query, num)
        if search != "vector":
            bodies["text"] = with_words(query, num)
        if not bodies:
            return []
        with self._named():
            lists = dict(zip(bodies, self._searches(generation, list(bodies.values())), strict=True))
            near = {chunk.chunk_id: chunk for chunk in map(near_chunk, lists.get("vector", []))}
            worded = {hit["_source"]["chunk_id"]: hit for hit in lists.get("text", [])}
            names = reciprocal_rank_fusion([list(near), list(worded)], query.num_chunks)
            unscored = [name for name in names if name not in near]
            if unscored and query.has_vector:
                hits = self._searches(generation, [near_vector(query, len(unscored), {"chunk_id": unscored})])[0]
                near |= {chunk.chunk_id: chunk for chunk in map(near_chunk, hits)}
        return [near[name] if name in near else found_chunk(worded[name], 0.0) for name in names]

    def _searches(self, generation: str, bodies: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        """The hits of several searches in one request."""
        lines = list(chain.from_iterable(({"index": generation}, body) for body in bodies))
        responses = self._client.msearch(body=lines)["responses"]
        for response in responses:
            if "error" in response:
                raise LlmopsError(f"store {self.uri}, index {generation}: the search failed ({response['error']['reason']})")
        return [response["hits"]["hits"] for response in responses]

    def drop(self, generation: str, chunk_ids: Sequence[str]) -> None:
        with self._named():
            self._client.indices.delete(index=generation, params={"ignore_unavailable": "true"})

    def close(self) -> None:
        for name in ("_client", "_writer"):
            if name in self.__dict__:
                self.__dict__[name].close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """The client's errors in our words."""
        from opensearchpy.exceptions import AuthorizationException, OpenSearchException

        try:
            yield
        except AuthorizationException as error:
            raise LlmopsError(
                f"store {self.uri}: refuses this role ({error}); add it to the data access policy, and come through the VPC endpoint"
            ) from error
        except OpenSearchException as error:
            raise LlmopsError(f"store {self.uri}: the request failed ({error})") from error


def index_body(num_dimensions: int) -> dict[str, Any]:
    """Settings and fields of an index; unit vectors by inner product, which is their cosine."""
    method = {"name": "hnsw", "engine": "faiss", "space_type": "innerproduct", "parameters": {"m": 16, "ef_construction": 128}}
    exact, kept = {"type": "keyword"}, {"type": "keyword", "index": False, "doc_values": False}
    return {
        "settings": {"index": {"knn": True, "knn.algo_param.ef_search": EF_SEARCH}},
        "mappings": {
            "dynamic": "strict",
            "dynamic_templates": [{"metadata": {"path_match": "metadata.*", "mapping": {"type": "keyword"}}}],
            "properties": {
                "chunk_id": exact,
                "document_id": exact,
                "source": kept,
                "title": kept,
                "text": {"type": "text", "index": False},
                # names cut as in the other stores, so that `copytree` finds `shutil.copytree`, which an analyzer leaves whole
                "words": {"type": "text", "analyzer": "whitespace"},
                "metadata": {"type": "object", "dynamic": True},
                "embedding": {"type": "knn_vector", "dimension": num_dimensions, "method": method},
            },
        },
    }


def document(chunk: StoredChunk, vector: Floats) -> dict[str, Any]:
    """A chunk as it is sent."""
    # a word of the title counts twice, as in the other stores
    indexed = " ".join(count_words(chunk.text).elements())
    numbers = [round(float(value), 6) for value in vector]
    return {**chunk._asdict(), "metadata": dict(chunk.metadata), "words": indexed, "embedding": numbers}


def near_vector(query: Query, num: int, also: Filters | None = None) -> dict[str, Any]:
    """The nearest by inner product among those that pass; with few that pass the service compares them all."""
    assert query.vector is not None
    knn: dict[str, Any] = {"vector": query.vector.tolist(), "k": num}
    if clauses := filter_clauses(query.filters) + [{"terms": {key: list(values)}} for key, values in (also or {}).items()]:
        knn["filter"] = {"bool": {"filter": clauses}}
    return {"size": num, "_source": FIELDS, "query": {"knn": {"embedding": knn}}}


def with_words(query: Query, num: int) -> dict[str, Any]:
    """The best by BM25."""
    match = {"match": {"words": {"query": " ".join(words(query.text))}}}
    body = {"bool": {"must": [match], "filter": filter_clauses(query.filters)}}
    return {"size": num, "_source": FIELDS, "query": body}


def filter_clauses(filters: Filters) -> list[dict[str, Any]]:
    """One of the values of every key."""
    return [{"terms": {f"metadata.{key}": list(values)}} for key, values in filters.items()]


def near_chunk(hit: dict[str, Any]) -> FoundChunk:
    """A hit of k-NN. Faiss's inner product p is given as 1 + p, and as 1 / (1 - p) when it is negative."""
    score = float(hit["_score"])
    return found_chunk(hit, score - 1 if score >= 1 else 1 - 1 / score)


def found_chunk(hit: dict[str, Any], score: float) -> FoundChunk:
    """A hit with its cosine."""
    fields = hit["_source"]
    return FoundChunk(
        fields["chunk_id"], fields["document_id"], fields["text"], score, fields["source"], fields["title"], fields.get("metadata", {})
    )
