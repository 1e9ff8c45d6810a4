"""A server of Hugging Face's Text Embeddings Inference: `/embed` and `/rerank`."""

import json
from collections.abc import Sequence
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.served import Floats, embed_batches

BATCH = 32  # texts in one request: the server's default `max-client-batch-size`
HEADERS = {"Content-Type": "application/json"}
TIMEOUT = urllib3.Timeout(connect=5.0, read=60.0)
# 429: all its permits are taken; both calls change nothing, so they may be repeated
RETRIES = Retry(total=5, connect=1, backoff_factor=0.2, backoff_jitter=0.1, status_forcelist=(429, 502, 503, 504), allowed_methods=None)


class TeiServer:
    """A connection pool to a server; any number of threads may ask at once."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._pool = urllib3.PoolManager(maxsize=32, timeout=TIMEOUT, retries=RETRIES)

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """The answer's JSON. Raises LlmopsError when there is none."""
        try:
            answer = self._pool.request("POST", f"{self.url}{path}", body=json.dumps(body).encode(), headers=HEADERS)
        except HTTPError as error:
            raise LlmopsError(f"{self.url}{path}: does not answer ({error}); start the server, or correct its url") from error
        if answer.status != 200:
            raise LlmopsError(f"{self.url}{path}: answers {answer.status} ({answer.data[:200].decode(errors='replace')})")
        try:
            return answer.json()
        except ValueError as error:
            raise LlmopsError(f"{self.url}{path}: answers no JSON; is it a Text Embeddings Inference server?") from error


class TeiEmbedder:
    """The model that the server was started with."""

    def __init__(self, url: str, num_dimensions: int | None) -> None:
        """Asks for one vector when `num_dimensions` is not known."""
        self._server = TeiServer(url)
        self.num_dimensions = num_dimensions or 0
        self.num_dimensions = num_dimensions or self.embed(["dimensions"]).shape[1]

    def embed(self, texts: Sequence[str]) -> Floats:
        return embed_batches(self._ask, texts, BATCH, f"{self._server.url}/embed", self.num_dimensions)

    def embed_questions(self, texts: Sequence[str]) -> Floats:
        return self.embed(texts)

    def _ask(self, texts: Sequence[str]) -> Any:
        return self._server.ask("/embed", {"inputs": list(texts), "normalize": True, "truncate": True})


class TeiReranker:
    """A cross-encoder that a server runs."""

    def __init__(self, url: str) -> None:
        self._server = TeiServer(url)

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers, in the order of the texts."""
        found: dict[int, float] = {}
        for start in range(0, len(texts), BATCH):
            body = {"query": question, "texts": list(texts[start : start + BATCH]), "raw_scores": False, "truncate": True}
            try:
                found |= {start + int(item["index"]): float(item["score"]) for item in self._server.ask("/rerank", body)}
            except (KeyError, TypeError, ValueError) as error:
                raise LlmopsError(f"{self._server.url}/rerank: answers no scores ({error!r}); is a reranker served there?") from error
        if found.keys() != set(range(len(texts))):
            raise LlmopsError(f"{self._server.url}/rerank: gave {len(found)} scores for {len(texts)} texts")
        return [found[place] for place in range(len(texts))]
