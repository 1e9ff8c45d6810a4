"""What an Endpoint document says about retrieval: how chunks are searched, ordered, shown to the model, and what is said without any."""

from string import Formatter
from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.contracts.document import Value

Search = Literal["vector", "text", "hybrid"]

TEMPLATE = "Context:\n{context}\n\nQuestion: {question}"
CHUNK_TEMPLATE = "{text}"
REFUSAL = "I found nothing about that in the documents I can look into."


class Reranker(Value):
    """A model that reads question and chunk together and orders what the search found."""

    kind: Literal["cross-encoder", "tei", "bedrock"]
    """`cross-encoder`: a local model; `tei`: a Text Embeddings Inference server's `/rerank`; `bedrock`: Bedrock's Rerank."""
    model: str = ""
    """Of `cross-encoder` a directory, `s3://` prefix or Hugging Face id; of `bedrock` a model's ARN; nothing for `tei`."""
    url: str = ""
    """Of `tei` the server, such as `http://127.0.0.1:8090`; of `bedrock` another endpoint than the region's, or nothing."""

    @model_validator(mode="after")
    def _names_what_it_needs(self) -> Self:
        if self.kind == "tei" and (not self.url.startswith(("http://", "https://")) or self.model):
            raise ValueError("reranker tei needs url=, the server's http:// address, and no model, which the server has chosen")
        if self.kind != "tei" and not self.model:
            raise ValueError(f"reranker {self.kind} needs model=")
        if self.kind == "cross-encoder" and self.url:
            raise ValueError("reranker cross-encoder runs here and takes no url; set kind=tei for a server")
        return self


class RetrievalSettings(Value):
    """How context for an answer is found and shown."""

    num_chunks: int = Field(default=3, ge=1, le=100)
    """Chunks put in front of a question that asks for context, as far as they fit."""
    search: Search | None = None
    """`vector`: near by meaning; `text`: by words (BM25); `hybrid`: both lists joined by reciprocal rank fusion. None: the store's
    best, which is `hybrid` but for Kendra, which has one way of its own."""
    num_candidates: int = Field(default=50, ge=1, le=100)
    """Chunks that each list of `hybrid` gives, and that a reranker reads; as many as asked for at least."""
    min_score: float | None = Field(default=None, ge=-1, le=1)
    """Chunks whose cosine similarity to the question is lower are left out; None: none is."""
    filters: dict[str, list[str]] = Field(default={})
    """Only chunks whose metadata have one of these values under each key."""
    reranker: Reranker | None = None
    """Orders the candidates anew; None: the search's order."""
    template: str = TEMPLATE
    """The question as the model sees it, with the places `{context}` and `{question}`."""
    chunk_template: str = CHUNK_TEMPLATE
    """One chunk in the context; places: `{text}`, `{number}` (from 1), `{document_id}`, `{source}` and `{title}`. An answer
    that says `[2]` cites number 2, as `[{number}] {text}` shows it."""
    max_context_tokens: int | None = Field(default=None, ge=1)
    """Tokens of all chunks together, as they are shown; None: what the window has room for."""
    when_empty: Literal["answer", "refuse"] = "answer"
    """With no chunk: `answer` asks the model without context, `refuse` says `refusal` and asks no model."""
    refusal: str = Field(default=REFUSAL, min_length=1)
    """The answer of `when_empty: refuse`."""

    @model_validator(mode="after")
    def _templates_have_their_places(self) -> Self:
        for name, places, needed in (
            ("template", {"context", "question"}, {"context", "question"}),
            ("chunk_template", {"text", "number", "document_id", "source", "title"}, {"text"}),
        ):
            found = places_of(getattr(self, name), name)
            if unknown := found - places:
                raise ValueError(f"{name}: has no value for {{{sorted(unknown)[0]}}}; its places are {', '.join(sorted(places))}")
            if missing := needed - found:
                raise ValueError(f"{name}: needs the place {{{sorted(missing)[0]}}}")
        if self.filters and (empty := [key for key, values in self.filters.items() if not values]):
            raise ValueError(f"filters.{empty[0]}: needs one value at least; leave the key out to allow any")
        return self


def places_of(template: str, name: str) -> set[str]:
    """The `{places}` of a template. Raises ValueError for one that cannot be filled."""
    try:
        fields = [field for field in Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise ValueError(f"{name}: {error}; write a brace of the text twice, as {{{{ or }}}}") from error
    if formatted := [place for _, place, width, conversion in fields if width or conversion]:
        raise ValueError(f"{name}: {{{formatted[0]}}} takes no format; leave out what follows the name")
    return {str(place) for _, place, _, _ in fields}
