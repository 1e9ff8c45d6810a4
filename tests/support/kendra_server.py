"""What Amazon Kendra answers to the calls that retrieval makes, in the shapes of its model, which every request is checked against.

Documents are indexed some status calls after they were put, fields must be declared and an update of the index takes a while; a long
document comes back as several passages.
"""

import base64
import json
import threading
from typing import Any

import botocore.session

from support.aws_model import problems
from support.loopback import Answer, Request
from support.opensearch_server import match_scores, tokens
from support.sigv4 import signature_problem

RESERVED = {"_version", "_source_uri", "_category", "_document_id", "_file_type", "_language_code"}


class KendraIndex:
    """The index; give its `answer` to a loopback server."""

    def __init__(self, index_id: str, region: str = "us-east-1", throttled: int = 0) -> None:
        """The first `throttled` puts are refused for their rate."""
        self.index_id = index_id
        self.region = region
        self.throttled = throttled
        self.fields = set(RESERVED)
        self.documents: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self._asked: dict[str, int] = {}
        self._updating = 0
        self._model = botocore.session.get_session().get_service_model("kendra")
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer:
        if problem := signature_problem(request.method, request.target, request.headers, request.body, "kendra", self.region):
            return failure("AccessDeniedException", problem)
        name = request.headers["x-amz-target"].removeprefix("AWSKendraFrontendService.")
        body = json.loads(request.body)
        found = problems(self._model.operation_model(name).input_shape, body)
        if found:
            return failure("ValidationException", "; ".join(found))
        if body.get("IndexId", body.get("Id")) != self.index_id:
            return failure("ResourceNotFoundException", "no such index")
        with self._lock:
            self.calls.append(name)
            return getattr(self, f"_{name}")(body)

    def _DescribeIndex(self, body: dict[str, Any]) -> Answer:  # noqa: N802 - the operation's name
        status = "UPDATING" if self._updating else "ACTIVE"
        self._updating = max(0, self._updating - 1)
        fields = [{"Name": name, "Type": "STRING_VALUE", "Search": {"Displayable": True}} for name in sorted(self.fields)]
        return 200, {"Id": self.index_id, "Status": status, "Edition": "DEVELOPER_EDITION", "DocumentMetadataConfigurations": fields}

    def _UpdateIndex(self, body: dict[str, Any]) -> Answer:  # noqa: N802
        self.fields |= {one["Name"] for one in body["DocumentMetadataConfigurationUpdates"]}
        self._updating = 1
        return 200, {}

    def _BatchPutDocument(self, body: dict[str, Any]) -> Answer:  # noqa: N802
        if self.throttled:
            self.throttled -= 1
            return failure("ThrottlingException", "Rate exceeded")
        failed = []
        for document in body["Documents"]:
            values = {one["Key"]: one["Value"]["StringValue"] for one in document["Attributes"]}
            if unknown := set(values) - self.fields:
                message = f"attribute {sorted(unknown)[0]} is not in the index"
                failed.append({"Id": document["Id"], "ErrorCode": "InvalidRequest", "ErrorMessage": message})
                continue
            text = base64.b64decode(document["Blob"]).decode()
            self.documents[document["Id"]] = {"title": document["Title"], "text": text, "values": values}
            self._asked[document["Id"]] = 0
        return 200, {"FailedDocuments": failed}

    def _BatchGetDocumentStatus(self, body: dict[str, Any]) -> Answer:  # noqa: N802
        found = []
        for one in body["DocumentInfoList"]:
            name = one["DocumentId"]
            if name in self.documents:
                self._asked[name] += 1
            found.append({"DocumentId": name, "DocumentStatus": self._state(name)})
        return 200, {"Errors": [], "DocumentStatusList": found}

    def _state(self, name: str) -> str:
        if name not in self.documents:
            return "NOT_FOUND"
        return "INDEXED" if self._asked[name] > 1 else "PROCESSING"

    def _BatchDeleteDocument(self, body: dict[str, Any]) -> Answer:  # noqa: N802
        for name in body["DocumentIdList"]:
            self.documents.pop(name, None)
        return 200, {"FailedDocuments": []}

    def _Retrieve(self, body: dict[str, Any]) -> Answer:  # noqa: N802
        if depth(body["AttributeFilter"]) > 2 or longest(body["AttributeFilter"]) > 10:
            return failure("ValidationException", "AttributeFilter cannot have a depth of more than 2 or a length of more than 10.")
        if unknown := keys(body["AttributeFilter"]) - self.fields:
            return failure("ValidationException", f"attribute {sorted(unknown)[0]} is not in the index")
        passing = [
            name
            for name, one in self.documents.items()
            if self._state(name) == "INDEXED" and passes(body["AttributeFilter"], one["values"])
        ]
        scores = match_scores([tokens(self.documents[name]["text"]) for name in passing], tokens(body["QueryText"]))
        best = sorted(scores, key=lambda place: (-scores[place], passing[place]))
        items = [item for rank, place in enumerate(best) for item in self._passages(passing[place], rank)]
        return 200, {"QueryId": "0a1b2c3d", "ResultItems": items[: body.get("PageSize", 10)]}

    def _passages(self, name: str, rank: int) -> list[dict[str, Any]]:
        document = self.documents[name]
        confidence = ("VERY_HIGH", "HIGH", "MEDIUM", "LOW")[min(rank, 3)]
        attributes = [{"Key": key, "Value": {"StringValue": value}} for key, value in document["values"].items()]
        item = {
            "Id": f"passage-{rank}", "DocumentId": name, "DocumentTitle": document["title"], "Content": document["text"],
            "DocumentAttributes": attributes, "ScoreAttributes": {"ScoreConfidence": confidence},
        }  # fmt: skip
        return [item, {**item, "Id": f"passage-{rank}b"}] if rank == 0 else [item]


def failure(kind: str, message: str) -> Answer:
    return 400, {"__type": kind, "Message": message}


def inner(one: dict[str, Any]) -> list[dict[str, Any]]:
    return [*one.get("AndAllFilters", []), *one.get("OrAllFilters", [])]


def depth(one: dict[str, Any]) -> int:
    """Lists inside lists."""
    return 1 + max(map(depth, inner(one)), default=0) if inner(one) else 0


def longest(one: dict[str, Any]) -> int:
    return max([len(inner(one)), *map(longest, inner(one))])


def keys(one: dict[str, Any]) -> set[str]:
    own = {one["EqualsTo"]["Key"]} if "EqualsTo" in one else set()
    return own.union(*map(keys, inner(one)))


def passes(one: dict[str, Any], values: dict[str, str]) -> bool:
    """Whether a document's values fit a filter."""
    if "EqualsTo" in one:
        return values.get(one["EqualsTo"]["Key"]) == one["EqualsTo"]["Value"]["StringValue"]
    results = [passes(part, values) for part in inner(one)]
    return all(results) if "AndAllFilters" in one else any(results)
