"""The store in Amazon Kendra: chunks are its documents, a generation is their `_version`, and its Retrieve call finds passages.

Kendra reads the text itself: there is no embedder, and one way to search. A write that was cut off goes on with the chunks that are
not there yet.
"""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from llmops_shared.aws_errors import explained
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.location import kendra_place
from llmops_shared.retrieval.store import Filters, Floats, FoundChunk, Query, StoredChunk

logger = logging.getLogger(__name__)

BATCH = 10  # documents in one call, Kendra's limit
MAX_PAGE = 100
MAX_QUERY = 1000  # characters; Kendra itself reads 30 words
MAX_VALUE = 2048
MAX_ALTERNATIVES = 10  # filters in one list
READY_S = 3600.0
POLL_S = 5.0
# Kendra's words, as numbers between which a threshold can lie
CONFIDENCE = {"VERY_HIGH": 1.0, "HIGH": 0.75, "MEDIUM": 0.5, "LOW": 0.25, "NOT_AVAILABLE": 0.0}
THERE, ON_ITS_WAY = ("INDEXED", "UPDATED"), ("PROCESSING",)
DOCUMENT, SOURCE = "llmops_document_id", "llmops_source"  # fields of ours in the index


class Kendra:
    """An index that Terraform made; any number of threads may search at once."""

    def __init__(self, uri: str, poll_s: float = POLL_S) -> None:
        self.uri = uri
        self._index, self._region = kendra_place(uri)
        self._poll_s = poll_s

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        # searches and writes share a few calls per second, and both may be repeated
        config = Config(retries={"mode": "standard", "max_attempts": 8}, max_pool_connections=32)
        return boto3.client("kendra", region_name=self._region, config=config)

    def write(self, generation: str, chunks: Sequence[StoredChunk], vectors: Floats | None) -> None:
        if vectors is not None:
            raise LlmopsError(f"store {self.uri}: Kendra reads the text itself and takes no vectors; set embedder.kind=none")
        with explained(f"store {self.uri}"):
            self._declare({key for chunk in chunks for key in chunk.metadata} | {DOCUMENT, SOURCE})
            states = self._states(generation, [chunk.chunk_id for chunk in chunks])
            missing = [chunk for chunk in chunks if states[chunk.chunk_id] not in (*THERE, *ON_ITS_WAY)]
            for start in range(0, len(missing), BATCH):
                self._put(generation, missing[start : start + BATCH])
                if start % (100 * BATCH) == 0:
                    logger.info("sent %d of %d chunks to Kendra", min(start + BATCH, len(missing)), len(missing))
            self._wait_until_indexed(generation, [chunk.chunk_id for chunk in chunks])

    def _declare(self, names: set[str]) -> None:
        """Makes the fields of the chunks known to the index, for only known fields are kept, shown and filtered by."""
        if wrong := sorted(name for name in names if not re.fullmatch(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,29}", name)):
            raise LlmopsError(f"metadata {wrong[0]!r}: is no name for a field of Kendra, which has 30 letters, digits, - and _ at most")
        known = {field["Name"] for field in self._client.describe_index(Id=self._index)["DocumentMetadataConfigurations"]}
        if unknown := sorted(names - known):
            shown = {"Displayable": True, "Facetable": True, "Searchable": False, "Sortable": False}
            updates = [{"Name": name, "Type": "STRING_VALUE", "Search": shown} for name in unknown]
            self._client.update_index(Id=self._index, DocumentMetadataConfigurationUpdates=updates)
            logger.info("declared the fields %s", ", ".join(unknown))
        deadline = time.monotonic() + READY_S
        while (state := self._client.describe_index(Id=self._index)["Status"]) != "ACTIVE":
            if state != "UPDATING" or time.monotonic() > deadline:
                raise LlmopsError(f"store {self.uri}: the index is {state}, not ACTIVE; look at it in the console and run again")
            time.sleep(self._poll_s)

    def _put(self, generation: str, chunks: Sequence[StoredChunk]) -> None:
        documents = [document(generation, chunk) for chunk in chunks]
        if failed := self._client.batch_put_document(IndexId=self._index, Documents=documents).get("FailedDocuments", []):
            reason = f"{failed[0]['ErrorCode']}: {failed[0].get('ErrorMessage', '')}"
            raise LlmopsError(f"store {self.uri}: refuses {failed[0]['Id']} ({reason}); run again")

    def _states(self, generation: str, chunk_ids: Sequence[str]) -> dict[str, str]:
        """What became of each chunk."""
        states: dict[str, str] = {}
        for start in range(0, len(chunk_ids), BATCH):
            names = [{"DocumentId": f"{generation}/{name}"} for name in chunk_ids[start : start + BATCH]]
            answer = self._client.batch_get_document_status(IndexId=self._index, DocumentInfoList=names)
            for one in answer.get("DocumentStatusList", []):
                if one["DocumentStatus"] in ("FAILED", "UPDATE_FAILED"):
                    logger.warning("%s: %s %s", one["DocumentId"], one.get("FailureCode", ""), one.get("FailureReason", ""))
                states[one["DocumentId"].removeprefix(f"{generation}/")] = one["DocumentStatus"]
            for one in answer.get("Errors", []):
                raise LlmopsError(f"store {self.uri}: cannot tell about {one.get('DocumentId')} ({one.get('ErrorMessage')}); run again")
        return states

    def _wait_until_indexed(self, generation: str, chunk_ids: Sequence[str]) -> None:
        deadline, waiting = time.monotonic() + READY_S, list(chunk_ids)
        while waiting:
            states = self._states(generation, waiting)
            if failed := [name for name in waiting if states[name] in ("FAILED", "UPDATE_FAILED", "NOT_FOUND")]:
                raise LlmopsError(f"store {self.uri}: {len(failed)} chunks are not in the index, the first is {failed[0]}; run again")
            waiting = [name for name in waiting if states[name] in ON_ITS_WAY]
            if waiting and time.monotonic() > deadline:
                raise LlmopsError(f"store {self.uri}: {len(waiting)} chunks are not indexed after {READY_S:.0f} s; run again to go on")
            if waiting:
                logger.info("%d of %d chunks are being indexed", len(waiting), len(chunk_ids))
                time.sleep(self._poll_s)

    def problem(self, generation: str, chunk_ids: Sequence[str]) -> str | None:
        """Asks for ten chunks from first to last, for Kendra counts no generation."""
        chosen = [chunk_ids[place * (len(chunk_ids) - 1) // (BATCH - 1)] for place in range(BATCH)] if chunk_ids else []
        with explained(f"store {self.uri}"):
            states = self._states(generation, list(dict.fromkeys(chosen)))
        lost = [name for name, state in states.items() if state not in THERE]
        return f"no chunk {lost[0]} of {generation}, which is {states[lost[0]]}" if lost else None

    def search(self, generation: str, query: Query) -> list[FoundChunk]:
        """Scores are Kendra's confidence."""
        if query.search not in (None, "hybrid"):
            raise LlmopsError(f"store {self.uri}: Kendra searches in one way, by meaning and words; leave search= out")
        text = query.text.strip()[:MAX_QUERY]
        if not text:
            return []
        # a chunk may come several times, for Kendra finds passages
        size, among = min(MAX_PAGE, 2 * query.num_chunks + 8), attribute_filter(generation, query.filters)
        with explained(f"store {self.uri}"):
            items = self._client.retrieve(IndexId=self._index, QueryText=text, AttributeFilter=among, PageSize=size)["ResultItems"]
        chunks: dict[str, FoundChunk] = {}
        for item in items:
            chunk = found_chunk(generation, item)
            chunks.setdefault(chunk.chunk_id, chunk)
        return list(chunks.values())[: query.num_chunks]

    def drop(self, generation: str, chunk_ids: Sequence[str]) -> None:
        with explained(f"store {self.uri}"):
            for start in range(0, len(chunk_ids), BATCH):
                names = [f"{generation}/{name}" for name in chunk_ids[start : start + BATCH]]
                self._client.batch_delete_document(IndexId=self._index, DocumentIdList=names)

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()


def document(generation: str, chunk: StoredChunk) -> dict[str, Any]:
    """A chunk as Kendra takes it."""
    values = {"_version": generation, DOCUMENT: chunk.document_id, SOURCE: chunk.source, **chunk.metadata}
    if re.match(r"https?://\S+$", chunk.source):
        values["_source_uri"] = chunk.source
    attributes = [{"Key": key, "Value": {"StringValue": value[:MAX_VALUE]}} for key, value in values.items() if value]
    return {
        "Id": f"{generation}/{chunk.chunk_id}",
        "Title": chunk.title or chunk.document_id,
        "Blob": chunk.text.encode(),
        "ContentType": "PLAIN_TEXT",
        "Attributes": attributes,
    }


def attribute_filter(generation: str, filters: Filters) -> dict[str, Any]:
    """The generation, and one of the values of every key. Raises LlmopsError for more than Kendra takes."""
    if len(filters) >= MAX_ALTERNATIVES or any(len(values) > MAX_ALTERNATIVES for values in filters.values()):
        raise LlmopsError(f"filters: Kendra takes {MAX_ALTERNATIVES - 1} keys at most, with {MAX_ALTERNATIVES} values each")
    clauses = [equals("_version", generation)]
    for key, values in filters.items():
        one_of = [equals(key, value) for value in values]
        clauses.append(one_of[0] if len(one_of) == 1 else {"OrAllFilters": one_of})
    return {"AndAllFilters": clauses}


def equals(key: str, value: str) -> dict[str, Any]:
    """A field has this value."""
    return {"EqualsTo": {"Key": key, "Value": {"StringValue": value[:MAX_VALUE]}}}


def found_chunk(generation: str, item: Mapping[str, Any]) -> FoundChunk:
    """A passage as the chunk it is of."""
    values = {one["Key"]: one["Value"].get("StringValue", "") for one in item.get("DocumentAttributes", [])}
    confidence = item.get("ScoreAttributes", {}).get("ScoreConfidence", "NOT_AVAILABLE")
    metadata = {key: value for key, value in values.items() if not key.startswith("_") and key not in (DOCUMENT, SOURCE)}
    return FoundChunk(
        chunk_id=str(item["DocumentId"]).removeprefix(f"{generation}/"),
        document_id=values.get(DOCUMENT, ""),
        text=item["Content"],
        score=CONFIDENCE[confidence],
        source=values.get(SOURCE, ""),
        title=item.get("DocumentTitle", ""),
        metadata=metadata,
    )
