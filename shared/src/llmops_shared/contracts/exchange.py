"""Exchange: one request and the answer one variant gave, a line of the exchange log."""

from typing import Literal

from pydantic import AwareDatetime, Field

from llmops_shared.contracts.document import Value


class Message(Value):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: str
    """What is said."""


class RetrievedChunk(Value):
    """A chunk that was put in front of the question."""

    chunk_id: str
    """Its id in the index."""
    score: float
    """Cosine similarity to the question, -1 to 1; of Kendra its confidence: 1, 0.75, 0.5, 0.25, or 0 where it has none."""
    num_tokens: int = Field(ge=0)
    """Its length in tokens of the served model."""
    rerank_score: float | None = None
    """What the reranker gave it; None: there was none."""


class RetrievalTrace(Value):
    """What retrieval did for one request."""

    index_sha256: str
    """Digest of the RetrievalIndex document."""
    chunks: list[RetrievedChunk]
    """The chunks, best first."""
    embedding_ms: float = Field(ge=0)
    """Time to embed the question."""
    search_ms: float = Field(ge=0)
    """Time to search the index."""
    rerank_ms: float | None = Field(default=None, ge=0)
    """Time of the reranker; None: there was none."""
    num_found: int | None = Field(default=None, ge=0)
    """Chunks that the search gave, before those were left out that did not fit; None in lines that are older than this field."""
    refused: bool = False
    """True: nothing was found, and the answer is the refusal that the endpoint says for that."""


class Exchange(Value):
    """One request and one answer. A request with a shadow makes two exchanges with the same `request_id`."""

    schema_version: Literal[1] = 1
    """Version of this line's shape."""
    request_id: str
    """Id of the request, returned to the client in `x-request-id`."""
    time: AwareDatetime
    """When the request arrived, UTC."""
    endpoint: str
    """Name of the endpoint."""
    endpoint_sha256: str
    """Digest of the Endpoint document that was served."""
    variant: str
    """Variant that gave this answer."""
    shadow: bool
    """True: the client never saw this answer."""
    package_sha256: str
    """Digest of the variant's ModelPackage document."""
    route: str
    """Path of the request: `/generate`, `/v1/chat/completions`, ..."""
    messages: list[Message]
    """The conversation as the client sent it; a plain prompt is one user message."""
    response: str
    """The whole answer."""
    finish_reason: str
    """`stop`, `length`, or `error`."""
    num_prompt_tokens: int = Field(ge=0)
    """Tokens of the prompt as the model saw it, retrieved context included."""
    num_response_tokens: int = Field(ge=0)
    """Tokens of the answer."""
    latency_ms: float = Field(ge=0)
    """From arrival to the last token."""
    first_token_ms: float | None = Field(ge=0)
    """From arrival to the first token; None when there was none."""
    error: str | None
    """What went wrong; None for an answer."""
    retrieval: RetrievalTrace | None
    """What retrieval added; None when it was not asked for."""
    metadata: dict[str, str]
    """The `metadata` of the OpenAI request, such as the `row_id` of a test prompt."""
    arm: str | None = None
    """Arm of the A/B test that the user belongs to; None: there is no test."""
    prompt_sha256: str | None = None
    """Digest of the arm's registered prompt; None: it has none."""
    replica: str | None = None
    """Server of the variant that answered; None: the model ran in this server."""
