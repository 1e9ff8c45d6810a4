"""An Endpoint document with its models loaded: one generation of what a server serves."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmops_serve.arms import retrieval_template
from llmops_serve.capture import CaptureLog
from llmops_serve.config import RunConfig
from llmops_serve.engines.open import open_variant
from llmops_serve.engines.remote import RemoteEngine
from llmops_serve.gateway import Gateway
from llmops_serve.guard.guard import open_guard
from llmops_serve.job import Limits, Served
from llmops_serve.metrics import Metrics
from llmops_serve.replicas import Replica, Replicas
from llmops_serve.retrieve import Retriever, open_retriever
from llmops_shared.contracts import Endpoint, ModelPackage, RetrievalIndex
from llmops_shared.contracts.endpoint import Retrieval, Variant
from llmops_shared.documents import document_uri, follow, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of
from llmops_shared.store import folder_of, join

logger = logging.getLogger(__name__)

RELAYED = ("tgi", "vllm")
"""Engines whose servers have OpenAI's routes as the gateway has them."""


@asynccontextmanager
async def realized(config: RunConfig, metrics: Metrics | None = None) -> AsyncIterator[Gateway]:
    """The gateway of an Endpoint document with its models loaded; on the way out, shadow copies and the log are finished."""
    place = document_uri(config.endpoint, Endpoint)
    endpoint, folder = read_document(place, Endpoint), folder_of(place)
    endpoint_sha256 = digest_of(place, Endpoint)
    served = [realize(variant, folder, config) for variant in endpoint.variants]
    opened: dict[str | None, Retriever] = {}
    try:
        # side by side; all are waited for, so that a failure leaves nothing half started
        steps = [*(load(one) for one in served), *(open_index(name, one, folder, opened) for name, one in indexes(endpoint).items())]
        for result in await asyncio.gather(*steps, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        retrievers = {name: opened[name if name in opened else None] for name in names(endpoint) if opened.get(name) or opened.get(None)}
        capture = None
        if endpoint.capture is not None:
            uri = join(folder, endpoint.capture.uri)
            capture = CaptureLog(uri, server_id(), endpoint.capture.mask_pii, config.data_capture)
        guard = open_guard(config.guard)
        metrics = metrics or Metrics()
        gateway = Gateway(endpoint, endpoint_sha256, served, retrievers, capture, metrics, config.max_shadow_queue, guard)
        async with background(gateway, config):
            yield gateway
    finally:
        await asyncio.gather(*(one.engine.stop() for one in served))
        for retriever in opened.values():
            retriever.close()


def names(endpoint: Endpoint) -> list[str | None]:
    """None for requests of no arm, and the arms."""
    return [None, *(arm.name for arm in endpoint.arms)]


def indexes(endpoint: Endpoint) -> dict[str | None, Retrieval]:
    """What is to be opened: the endpoint's retrieval, and under an arm's name what the arm has of its own."""
    found: dict[str | None, Retrieval] = {} if endpoint.retrieval is None else {None: endpoint.retrieval}
    for arm in endpoint.arms:
        retrieval = arm.retrieval or endpoint.retrieval
        asks_for_its_own = arm.retrieval is not None or (arm.prompt is not None and "context" in arm.prompt.places)
        if retrieval is not None and asks_for_its_own:
            settings = retrieval_template(arm.prompt, retrieval) if arm.prompt else retrieval
            found[arm.name] = retrieval.model_copy(update={"template": settings.template})
    return found


async def open_index(name: str | None, retrieval: Retrieval, folder: str, opened: dict[str | None, Retriever]) -> None:
    """Opens an index into `opened`."""
    reference = retrieval.index
    place, _ = follow(reference, folder, RetrievalIndex)
    opened[name] = await asyncio.to_thread(open_retriever, place, reference.sha256, retrieval)


async def load(served: Served) -> None:
    """Starts the engine of a variant. A shadow on the network that does not answer stops nobody: its copies fail until it does."""
    try:
        await served.engine.start()
    except LlmopsError as error:
        if not (served.variant.shadow and all(one.upstream for one in served.engine.replicas)):
            raise
        logger.warning("variant %s (shadow): %s; its copies fail until it answers", served.variant.name, error)
        return
    if not served.is_relayed:
        await served.text.ready()
    logger.info("variant %s%s: %s loaded", served.variant.name, " (shadow)" if served.variant.shadow else "", served.package.name)


@asynccontextmanager
async def background(gateway: Gateway, config: RunConfig) -> AsyncIterator[None]:
    """What runs beside the requests: shadow copies and the exchange log."""
    writing = asyncio.create_task(gateway.capture.run()) if gateway.capture else None
    if gateway.shadow is not None:
        gateway.copies.start(config.max_batch_size)
    try:
        yield
    finally:
        await gateway.copies.close(config.drain_timeout_s)
        if writing is not None and gateway.capture is not None:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await gateway.capture.close()


def realize(variant: Variant, folder: str, config: RunConfig) -> Served:
    """A variant with its package checked. Raises LlmopsError when its engine cannot run here."""
    opened = open_variant(variant, folder, config)
    replicas = [Replica(engine, engine.upstream if isinstance(engine, RemoteEngine) else None) for engine in opened.engines]
    engine = Replicas(replicas, config.first_token_timeout_s)
    is_relayed = variant.engine in RELAYED and all(one.upstream is not None for one in replicas)
    adapters = frozenset(adapter.name for adapter in variant.adapters)
    most = limits(config, opened.package, opened.place)
    return Served(variant, opened.package, opened.text, engine, most, is_relayed, adapters)


def limits(config: RunConfig, package: ModelPackage, place: str) -> Limits:
    """What a request may ask of a package. Raises LlmopsError when the settings ask for more than the model can take."""
    total = config.max_total_tokens or package.max_context_tokens
    longest = config.max_input_tokens or total - 1
    if total > package.max_context_tokens:
        raise LlmopsError(f"max_total_tokens {total}: {place} takes {package.max_context_tokens} at most; lower it")
    if longest >= total:
        raise LlmopsError(f"max_input_tokens {longest}: must be below max_total_tokens ({total}), or no answer fits")
    return Limits(longest, total, config.max_stop_sequences, config.max_client_batch_size)


def server_id() -> str:
    """Id of this start of the server, part of the names of its log files."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:8]}"
