"""`llmops-serve reindex`: the next generation of an endpoint searches another index, or in another way. Servers change over at once."""

from llmops_serve.document_config import ReindexConfig
from llmops_serve.history import next_generation, record
from llmops_shared.contracts import Endpoint, RetrievalIndex
from llmops_shared.contracts.endpoint import Retrieval
from llmops_shared.contracts.retrieval import RetrievalSettings
from llmops_shared.documents import document_uri, read_document, refer, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import folder_of


def reindex(config: ReindexConfig) -> Endpoint:
    """Reads an Endpoint and a RetrievalIndex, which is complete or absent; writes the next generation with it."""
    inputs = {"endpoint": digest_of(config.endpoint, Endpoint)}
    if config.index is not None:
        inputs["index"] = digest_of(config.index, RetrievalIndex)
    if kept := finished(config, Endpoint, inputs):
        return kept

    place = document_uri(config.endpoint, Endpoint)
    before = read_document(place, Endpoint)
    folder = folder_of(document_uri(config.out, Endpoint))
    endpoint = next_generation(before, place, folder, "")
    if config.index is not None:
        name = read_document(config.index, RetrievalIndex).name
        index = refer(config.index, RetrievalIndex, folder)
    elif endpoint.retrieval is not None:
        name, index = "the same index", endpoint.retrieval.index
    else:
        raise LlmopsError(f"{place}: has no index whose retrieval could change; give index=")
    kept_settings = endpoint.retrieval.model_dump(exclude={"index"}) if endpoint.retrieval else {}
    settings = RetrievalSettings.model_validate(kept_settings) if config.retrieval is None else config.retrieval
    retrieval = Retrieval(index=index, **settings.model_dump())
    endpoint = endpoint.model_copy(update={"retrieval": retrieval, "reason": f"reindex {name}"})
    record(config.tracking, endpoint, {})
    write_document(config.out, endpoint)
    return endpoint
