"""An embedder behind a SageMaker endpoint: a Text Embeddings Inference container, whose `/invocations` is its `/embed`."""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from llmops_shared.aws_errors import explained
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.served import NUM_REQUESTS, Floats, embed_batches
from llmops_shared.retrieval.tei import BATCH


class SageMakerEmbedder:
    """The model of an endpoint; any number of threads may ask at once."""

    def __init__(self, endpoint: str, region: str, num_dimensions: int | None) -> None:
        """Asks for one vector when `num_dimensions` is not known."""
        self._endpoint = endpoint
        self._region = region or None
        self.num_dimensions = num_dimensions or 0
        self.num_dimensions = num_dimensions or self.embed(["dimensions"]).shape[1]

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(retries={"mode": "adaptive", "max_attempts": 8}, max_pool_connections=8 * NUM_REQUESTS)
        return boto3.client("sagemaker-runtime", region_name=self._region, config=config)

    def embed(self, texts: Sequence[str]) -> Floats:
        return embed_batches(self._ask, texts, BATCH, f"SageMaker endpoint {self._endpoint}", self.num_dimensions)

    def embed_questions(self, texts: Sequence[str]) -> Floats:
        return self.embed(texts)

    def _ask(self, texts: Sequence[str]) -> Any:
        body = json.dumps({"inputs": list(texts), "normalize": True, "truncate": True}).encode()
        try:
            kind = "application/json"
            with explained(f"SageMaker endpoint {self._endpoint}"):
                answer = self._client.invoke_endpoint(EndpointName=self._endpoint, ContentType=kind, Accept=kind, Body=body)
                return json.loads(answer["Body"].read())
        except ValueError as error:
            raise LlmopsError(
                f"SageMaker endpoint {self._endpoint}: gives no JSON; is it a Text Embeddings Inference container?"
            ) from error
