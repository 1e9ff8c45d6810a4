"""Amazon Bedrock: embeddings of Titan and Cohere, and its Rerank."""

import json
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

from llmops_shared.aws_errors import explained
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.served import NUM_REQUESTS, Floats, embed_batches

COHERE_BATCH = 96  # texts in one request, Cohere's limit
MAX_CHARACTERS = {"amazon": 50_000, "cohere": 2048}  # of one text; Cohere refuses longer ones, Titan reads 8,192 tokens
MAX_RERANKED = 1000  # Bedrock's limit of sources


class BedrockEmbedder:
    """A model by its id, such as `amazon.titan-embed-text-v2:0` or `cohere.embed-multilingual-v3`; also an inference profile's."""

    def __init__(self, model: str, region: str, num_dimensions: int | None) -> None:
        """Asks for one vector when `num_dimensions` is not known."""
        self._model = model
        self._region = region or None
        self._maker = maker(model)
        self._asked_dimensions = num_dimensions
        self.num_dimensions = num_dimensions or 0
        self.num_dimensions = num_dimensions or self.embed(["dimensions"]).shape[1]

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(retries={"mode": "adaptive", "max_attempts": 8}, max_pool_connections=8 * NUM_REQUESTS)
        return boto3.client("bedrock-runtime", region_name=self._region, config=config)

    def embed(self, texts: Sequence[str]) -> Floats:
        return self._embed(texts, "search_document")

    def embed_questions(self, texts: Sequence[str]) -> Floats:
        return self._embed(texts, "search_query")

    def _embed(self, texts: Sequence[str], input_type: str) -> Floats:
        cut = [text[: MAX_CHARACTERS[self._maker]] for text in texts]
        ask = self._titan if self._maker == "amazon" else partial(self._cohere, input_type=input_type)
        batch = 1 if self._maker == "amazon" else COHERE_BATCH
        return embed_batches(ask, cut, batch, f"Bedrock model {self._model}", self.num_dimensions)

    def _titan(self, texts: Sequence[str]) -> Any:
        body: dict[str, Any] = {"inputText": texts[0]}
        if "titan-embed-text-v1" not in self._model:  # which has one length, and normalises nothing
            body |= {"normalize": True} | ({"dimensions": self._asked_dimensions} if self._asked_dimensions else {})
        return [self._invoke(body, "embedding")]

    def _cohere(self, texts: Sequence[str], input_type: str) -> Any:
        body: dict[str, Any] = {"texts": list(texts), "input_type": input_type, "truncate": "END", "embedding_types": ["float"]}
        if "embed-v4" in self._model and self._asked_dimensions:
            body["output_dimension"] = self._asked_dimensions
        return self._invoke(body, "embeddings", "float")

    def _invoke(self, body: dict[str, Any], *path: str) -> Any:
        try:
            with explained(f"Bedrock model {self._model}"):
                answer = self._client.invoke_model(
                    modelId=self._model, contentType="application/json", accept="application/json", body=json.dumps(body).encode()
                )
                found = json.loads(answer["body"].read())
            for name in path:
                found = found[name]
            return found
        except (KeyError, TypeError, ValueError) as error:
            raise LlmopsError(f"Bedrock model {self._model}: its answer has no embedding ({error!r})") from error


def maker(model: str) -> str:
    """Whose request shape a model has. Raises LlmopsError when it is nobody's that is known here."""
    names = model.rpartition("/")[2].split(".")
    if "amazon" in names and "titan-embed" in model:
        return "amazon"
    if "cohere" in names and "embed" in model:
        return "cohere"
    raise LlmopsError(f"Bedrock model {model}: is neither amazon.titan-embed-... nor cohere.embed-...; choose one of these")


class BedrockReranker:
    """A reranking model by its ARN, as `arn:aws:bedrock:REGION::foundation-model/cohere.rerank-v3-5:0`."""

    def __init__(self, model_arn: str, url: str) -> None:
        self._model_arn = model_arn
        self._url = url or None

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(retries={"mode": "standard", "max_attempts": 3}, read_timeout=30, max_pool_connections=32)
        region = self._model_arn.split(":")[3]
        return boto3.client("bedrock-agent-runtime", region_name=region or None, endpoint_url=self._url, config=config)

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers, 0 to 1, in the order of the texts."""
        assert len(texts) <= MAX_RERANKED
        sources = [{"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": text}}} for text in texts]
        settings = {"modelConfiguration": {"modelArn": self._model_arn}, "numberOfResults": len(texts)}
        with explained(f"reranker {self._model_arn}"):
            answer = self._client.rerank(
                queries=[{"type": "TEXT", "textQuery": {"text": question}}],
                sources=sources,
                rerankingConfiguration={"type": "BEDROCK_RERANKING_MODEL", "bedrockRerankingConfiguration": settings},
            )
        found = {int(item["index"]): float(item["relevanceScore"]) for item in answer["results"]}
        if found.keys() != set(range(len(texts))):
            raise LlmopsError(f"reranker {self._model_arn}: gave {len(found)} scores for {len(texts)} texts")
        return [found[place] for place in range(len(texts))]
