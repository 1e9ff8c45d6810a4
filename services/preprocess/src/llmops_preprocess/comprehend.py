"""Amazon Comprehend: language, entities, PII and classes as annotations, asked within the service's limits."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from llmops_preprocess.annotate_config import Annotate
from llmops_preprocess.annotations import Annotation
from llmops_shared.errors import LlmopsError

MAX_BATCH = 25
MAX_BATCH_BYTES = 5_000
MAX_PII_BYTES = 100_000
MAX_CLASSIFIER_BYTES = 10_000
"""docs.aws.amazon.com/comprehend/latest/dg/guidelines-and-limits.html and idp-inputs-sync.html; a kilobyte read as 1,000 bytes."""
SOURCE = "comprehend"


class Piece(NamedTuple):
    """A part of a text that is short enough to ask about."""

    text: int
    """Which text."""
    begin: int
    """Where it starts in it, in characters."""
    words: str


class ComprehendAnnotator:
    """Annotates texts with Comprehend."""

    def __init__(self, config: Annotate) -> None:
        self.config = config

    def annotate(self, texts: Sequence[str]) -> list[list[Annotation]]:
        """The annotations of each text, in the order of `detect`. Raises LlmopsError when Comprehend cannot be asked."""
        ask = {"language": self.languages, "entities": self.entities, "pii": self.pii, "classes": self.classes}
        found = [ask[name](texts) for name in self.config.detect]
        return [[item for of_kind in found for item in of_kind[number]] for number in range(len(texts))]

    def languages(self, texts: Sequence[str]) -> list[list[Annotation]]:
        """The dominant language of each, from its beginning."""
        beginnings = [next(pieces(number, text, MAX_BATCH_BYTES), None) for number, text in enumerate(texts)]
        results = self._in_batches("batch_detect_dominant_language", [piece for piece in beginnings if piece is not None], {})
        found: list[list[Annotation]] = [[] for _ in texts]
        for piece, result in results:
            best = max(result["Languages"], key=lambda language: language["Score"], default=None)
            if best is not None:
                found[piece.text].append(whole(f"LANGUAGE:{best['LanguageCode']}", texts[piece.text], best["Score"]))
        return found

    def entities(self, texts: Sequence[str]) -> list[list[Annotation]]:
        """Persons, places, organizations, dates, ... of each."""
        asked = [piece for number, text in enumerate(texts) for piece in pieces(number, text, MAX_BATCH_BYTES)]
        found: list[list[Annotation]] = [[] for _ in texts]
        for piece, result in self._in_batches("batch_detect_entities", asked, {"LanguageCode": self.config.language_code}):
            found[piece.text] += spans(piece, result["Entities"])
        return found

    def pii(self, texts: Sequence[str]) -> list[list[Annotation]]:
        """Personal data of each; Comprehend has no batches for it."""
        found: list[list[Annotation]] = [[] for _ in texts]
        for number, text in enumerate(texts):
            for piece in pieces(number, text, MAX_PII_BYTES):
                answer = call("detect_pii_entities", Text=piece.words, LanguageCode=self.config.language_code)
                found[number] += spans(piece, answer["Entities"])
        return found

    def classes(self, texts: Sequence[str]) -> list[list[Annotation]]:
        """Classes or labels of each, from its beginning."""
        found: list[list[Annotation]] = [[] for _ in texts]
        for number, text in enumerate(texts):
            piece = next(pieces(number, text, MAX_CLASSIFIER_BYTES), None)
            if piece is not None:
                answer = call("classify_document", Text=piece.words, EndpointArn=self.config.classifier_arn)
                named = [*answer.get("Classes", []), *answer.get("Labels", [])]
                found[number] = [whole(f"CLASS:{item['Name']}", text, item["Score"]) for item in named]
        return found

    def _in_batches(self, operation: str, asked: Sequence[Piece], more: dict[str, Any]) -> Iterator[tuple[Piece, dict[str, Any]]]:
        """Each piece with its result. Raises LlmopsError for a piece that Comprehend gives an error for."""
        for start in range(0, len(asked), MAX_BATCH):
            batch = asked[start : start + MAX_BATCH]
            answer = call(operation, TextList=[piece.words for piece in batch], **more)
            for error in answer["ErrorList"]:
                raise LlmopsError(f"Comprehend's {operation} fails for a text: {error['ErrorCode']} {error.get('ErrorMessage', '')}")
            for result in answer["ResultList"]:
                yield batch[result["Index"]], result


def pieces(text: int, words: str, max_bytes: int) -> Iterator[Piece]:
    """A text in parts of at most `max_bytes` in UTF-8, cut after white space where there is some; blank parts are left out."""
    begin = 0
    while begin < len(words):
        part = words[begin : begin + max_bytes]
        encoded = part.encode("utf-8")
        if len(encoded) > max_bytes:
            part = encoded[:max_bytes].decode("utf-8", "ignore")
        if begin + len(part) < len(words):
            space = max(part.rfind(" "), part.rfind("\n"))
            part = part[: space + 1] if space > 0 else part
        if part.strip():
            yield Piece(text, begin, part)
        begin += len(part)


def spans(piece: Piece, entities: Sequence[dict[str, Any]]) -> list[Annotation]:
    """Comprehend's entities as annotations of the whole text; its offsets count characters, as ours do."""
    return [
        Annotation(item["Type"], piece.begin + item["BeginOffset"], piece.begin + item["EndOffset"], min(item["Score"], 1.0), SOURCE)
        for item in entities
    ]


def whole(kind: str, text: str, score: float) -> Annotation:
    """A statement about all of a text."""
    return Annotation(kind, 0, len(text), min(score, 1.0), SOURCE)


def call(operation: str, **parameters: Any) -> dict[str, Any]:
    """One call, its errors named without the text."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer: dict[str, Any] = getattr(client(), operation)(**parameters)
    except ClientError as error:
        raise LlmopsError(f"Comprehend answers {operation} with {error.response['Error']['Code']}") from error
    except BotoCoreError as error:
        raise LlmopsError(f"Comprehend cannot be asked for {operation}: {type(error).__name__}") from error
    return answer


@functools.cache
def client() -> Any:
    """The service's client, one a process; throttled calls are repeated by botocore with growing pauses and jitter."""
    import boto3
    from botocore.config import Config

    return boto3.client("comprehend", config=Config(retries={"mode": "adaptive", "max_attempts": 10}))
