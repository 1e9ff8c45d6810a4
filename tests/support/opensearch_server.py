"""What a vector collection of OpenSearch Serverless answers, with its k-NN exact: shapes, refusals and delays as documented.

Documents of a bulk request are found only after a few counts, as there is no refresh on demand; ids of ours are refused.
"""

import json
import math
import re
import threading
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from support.loopback import Answer, Request
from support.sigv4 import signature_problem

MAX_BODY = 10_000_000


class Collection:
    """The collection; give its `answer` to a loopback server."""

    def __init__(self, region: str = "us-east-1", visible_after: int = 2, full: int = 0) -> None:
        """`visible_after` counts documents are found; the first `full` bulk requests have room for their first document only."""
        self.region = region
        self.visible_after = visible_after
        self.full = full
        self.indexes: dict[str, dict[str, Any]] = {}
        self.documents: dict[str, list[dict[str, Any]]] = {}
        self.counts: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer:
        parts = urlsplit(request.target)
        problem = signature_problem(request.method, request.target, request.headers, request.body, "aoss", self.region)
        if problem or "x-amz-content-sha256" not in {name.lower() for name in request.headers}:
            return 403, {"status": 403, "error": {"type": "authorization_exception", "reason": problem or "no x-amz-content-sha256"}}
        if len(request.body) > MAX_BODY:
            return 413, {"error": {"type": "too_large", "reason": "Request size exceeded 10485760 bytes"}}
        with self._lock:
            self.requests.append((request.method, parts.path))
            names = [name for name in parts.path.split("/") if name]
            return self._route(request, names, parse_qs(parts.query))

    def _route(self, request: Request, names: list[str], query: dict[str, list[str]]) -> Answer:
        match request.method, names:
            case "PUT", [index]:
                return self._create(index, json.loads(request.body))
            case "DELETE", [index]:
                if index not in self.indexes and query.get("ignore_unavailable") != ["true"]:
                    return 404, error("index_not_found_exception", f"no such index [{index}]")
                self.indexes.pop(index, None)
                self.documents.pop(index, None)
                return 200, {"acknowledged": True}
            case "HEAD", [index]:
                return (200 if index in self.indexes else 404), {}
            case "POST" | "PUT", [index, "_bulk"]:
                return self._bulk(index, lines(request.body), query)
            case _, [index, "_count"]:
                self.counts[index] += 1
                return 200, {"count": len(self._visible(index)), "_shards": {"total": 0, "successful": 0, "skipped": 0, "failed": 0}}
            case _, ["_msearch"]:
                found = lines(request.body)
                return 200, {
                    "took": 1,
                    "responses": [self._search(head["index"], body) for head, body in zip(found[::2], found[1::2], strict=True)],
                }
        return 404, error("illegal_argument_exception", f"{request.method} /{'/'.join(names)} is not supported by OpenSearch Serverless")

    def _create(self, index: str, body: dict[str, Any]) -> Answer:
        if index in self.indexes:
            return 400, error("resource_already_exists_exception", f"index [{index}] already exists")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", index):
            return 400, error("invalid_index_name_exception", f"Invalid index name [{index}], must be lowercase")
        vectors = [one for one in body["mappings"]["properties"].values() if one["type"] == "knn_vector"]
        for one in vectors:
            method = one["method"]
            if body["settings"]["index"].get("knn") is not True or method["engine"] != "faiss" or method["name"] != "hnsw":
                return 400, error("mapper_parsing_exception", "a vector collection needs index.knn and faiss' hnsw")
            if method["space_type"] not in ("l2", "innerproduct", "cosinesimil") or not 1 <= one["dimension"] <= 16000:
                return 400, error("mapper_parsing_exception", f"no space {method['space_type']} of {one['dimension']} dimensions")
        self.indexes[index], self.documents[index] = body["mappings"], []
        self.counts[index] = 0
        return 200, {"acknowledged": True, "shards_acknowledged": True, "index": index}

    def _bulk(self, index: str, found: list[dict[str, Any]], query: dict[str, list[str]]) -> Answer:
        if "refresh" in query:
            return 400, error("illegal_argument_exception", "refresh is not supported")
        items = []
        for place, (action, document) in enumerate(zip(found[::2], found[1::2], strict=True)):
            problem = self._refusal(index, action, document)
            if self.full and place:
                items.append({"index": {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "no capacity"}}})
            elif problem:
                items.append({"index": {"status": 400, "error": {"type": "illegal_argument_exception", "reason": problem}}})
            else:
                self.documents[index].append(document)
                items.append({"index": {"_index": index, "_id": f"auto{len(self.documents[index])}", "status": 201, "result": "created"}})
        self.full = max(0, self.full - 1)
        return 200, {"took": 1, "errors": any(item["index"]["status"] >= 300 for item in items), "items": items}

    def _refusal(self, index: str, action: dict[str, Any], document: dict[str, Any]) -> str | None:
        if action != {"index": {}}:
            return "Document ID is not supported in create/index operation request"
        properties = self.indexes[index]["properties"]
        if unknown := sorted(set(document) - set(properties)):
            return f"mapping set to strict, dynamic introduction of [{unknown[0]}] within [_doc] is not allowed"
        if len(document["embedding"]) != properties["embedding"]["dimension"]:
            return f"Vector dimension mismatch. Expected: {properties['embedding']['dimension']}, Given: {len(document['embedding'])}"
        return None

    def _visible(self, index: str) -> list[dict[str, Any]]:
        return self.documents[index] if self.counts[index] > self.visible_after else []

    def _search(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        if index not in self.indexes:
            return {**error("index_not_found_exception", f"no such index [{index}]"), "status": 404}
        scored = self._scores(index, body["query"])
        best = sorted(scored.items(), key=lambda item: (-item[1], item[0]))[: body["size"]]
        documents = self._visible(index)
        hits = [
            {"_index": index, "_id": f"auto{place}", "_score": score, "_source": {name: documents[place][name] for name in body["_source"]}}
            for place, score in best
        ]
        total = {"value": len(scored), "relation": "eq"}
        return {"took": 1, "timed_out": False, "hits": {"total": total, "max_score": None, "hits": hits}, "status": 200}

    def _scores(self, index: str, query: dict[str, Any]) -> dict[int, float]:
        """Score of each matching document."""
        documents = self._visible(index)
        ((kind, content),) = query.items()
        match kind:
            case "knn":
                ((field, wanted),) = content.items()
                passing = set(self._scores(index, wanted["filter"])) if "filter" in wanted else set(range(len(documents)))
                products = {place: float(np.dot(documents[place][field], wanted["vector"])) for place in passing}
                nearest = sorted(products, key=lambda place: -products[place])[: wanted["k"]]
                return {place: 1 + products[place] if products[place] >= 0 else 1 / (1 - products[place]) for place in nearest}
            case "match":
                ((field, wanted),) = content.items()
                if self.indexes[index]["properties"][field] != {"type": "text", "analyzer": "whitespace"}:
                    raise AssertionError(f"{field} is not analyzed so")
                return match_scores([document[field].split() for document in documents], wanted["query"].split())
            case "terms":
                ((path, values),) = content.items()
                return {place: 1.0 for place, document in enumerate(documents) if at(document, path) in values}
            case "bool":
                lists = [self._scores(index, clause) for clause in content.get("must", [])]
                kept = set(range(len(documents))).intersection(
                    *lists, *(self._scores(index, clause) for clause in content.get("filter", []))
                )
                return {place: sum(scores[place] for scores in lists) for place in kept}
        raise AssertionError(f"no query {kind}")


def lines(body: bytes) -> list[dict[str, Any]]:
    """Newline-delimited JSON; the last line ends, too, or the service refuses it."""
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.splitlines()]


def error(kind: str, reason: str) -> dict[str, Any]:
    return {"error": {"type": kind, "reason": reason, "root_cause": [{"type": kind, "reason": reason}]}}


def tokens(text: str) -> list[str]:
    """As the standard analyzer cuts."""
    return re.findall(r"\w+", text.lower())


def at(document: dict[str, Any], path: str) -> Any:
    """A value by its dotted path."""
    value: Any = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def match_scores(texts: list[list[str]], asked: list[str]) -> dict[int, float]:
    """BM25 as Lucene's."""
    mean = sum(map(len, texts)) / max(1, len(texts))
    scores: dict[int, float] = {}
    for word in set(asked):
        holders = [place for place, text in enumerate(texts) if word in text]
        rarity = math.log(1 + (len(texts) - len(holders) + 0.5) / (len(holders) + 0.5))
        for place in holders:
            count = texts[place].count(word)
            weight = rarity * count / (count + 1.2 * (0.25 + 0.75 * len(texts[place]) / mean))
            scores[place] = scores.get(place, 0.0) + weight
    return scores
