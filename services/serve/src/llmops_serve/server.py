"""`llmops-serve run`: realizes an Endpoint document as one server process and a process for each model."""

import asyncio
import logging
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from llmops_serve.app import make_app
from llmops_serve.capture import CaptureLog
from llmops_serve.config import RunConfig
from llmops_serve.engines.open import open_variant
from llmops_serve.gateway import Gateway
from llmops_serve.job import Limits, Served
from llmops_serve.metrics import Metrics
from llmops_serve.retrieve import Retriever, open_retriever
from llmops_shared.contracts import Endpoint, ModelPackage, RetrievalIndex
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.documents import document_uri, follow, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of
from llmops_shared.store import folder_of, join

logger = logging.getLogger(__name__)

BACKLOG = 2048  # connections the system keeps until we take them


def run(config: RunConfig) -> None:
    """Serves until SIGTERM or Ctrl-C, then lets running requests finish, copies reach the shadow and the log be written."""
    started = time.perf_counter()
    listener = bind(config.host, config.port)  # before anything is loaded: a port in use is told at once
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn ends on these and then raises them again, for whoever had them before
        signal.signal(number, lambda *_: None)
    with listener:
        asyncio.run(serve(config, listener, started))


async def serve(config: RunConfig, listener: socket.socket, started: float) -> None:
    """Loads the models and answers until told to stop."""
    async with realized(config) as gateway:
        server = make_server(gateway, config)
        listen(listener)
        host, port = listener.getsockname()[:2]
        logger.info("ready on http://%s:%d (start took %.1f s)", host, port, time.perf_counter() - started)
        await server.serve(sockets=[listener])
        logger.info("draining")


def make_server(gateway: Gateway, config: RunConfig) -> uvicorn.Server:
    """The HTTP server of a gateway; it ends when its running requests are answered, or the drain time is over."""
    app = make_app(gateway, config.max_payload_bytes, config.max_concurrent_requests)
    drain_s = max(1, round(config.drain_timeout_s))
    return uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=drain_s))


def bind(host: str, port: int) -> socket.socket:
    """A socket for the server. Raises LlmopsError when the address is taken."""
    with named(f"{host}:{port}"):
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError:
            listener.close()
            raise
        return listener


def listen(listener: socket.socket) -> None:
    """Takes connections from now on. Raises LlmopsError when another server began to do so since the address was bound."""
    host, port = listener.getsockname()[:2]
    with named(f"{host}:{port}"):
        listener.listen(BACKLOG)


@contextmanager
def named(address: str) -> Iterator[None]:
    """Names the address in the operating system's errors."""
    try:
        yield
    except OSError as error:
        raise LlmopsError(f"{address}: cannot be listened on ({error.strerror}); stop what uses it, or choose another port=") from error


@asynccontextmanager
async def realized(config: RunConfig) -> AsyncIterator[Gateway]:
    """The gateway of an Endpoint document with its models loaded; on the way out, shadow copies and the log are finished."""
    place = document_uri(config.endpoint, Endpoint)
    endpoint, folder = read_document(place, Endpoint), folder_of(place)
    endpoint_sha256 = digest_of(place, Endpoint)
    served = [realize(variant, folder, config) for variant in endpoint.variants]
    opened: list[Retriever] = []
    try:
        # side by side; all are waited for, so that a failure leaves nothing half started
        steps = [*(load(one) for one in served), open_index(endpoint, folder, opened)]
        for result in await asyncio.gather(*steps, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        retriever = opened[0] if opened else None
        capture = CaptureLog(join(folder, endpoint.capture.uri), server_id()) if endpoint.capture else None
        gateway = Gateway(endpoint, endpoint_sha256, served, retriever, capture, Metrics(), config.max_shadow_queue)
        async with background(gateway, config):
            yield gateway
    finally:
        await asyncio.gather(*(one.engine.stop() for one in served))
        for retriever in opened:
            retriever.close()


async def load(served: Served) -> None:
    """Starts the engine of a variant."""
    await served.engine.start()
    logger.info("variant %s%s: %s loaded", served.variant.name, " (shadow)" if served.variant.shadow else "", served.package.name)


async def open_index(endpoint: Endpoint, folder: str, opened: list[Retriever]) -> None:
    """Opens the endpoint's index, if it has one, into `opened`."""
    if endpoint.retrieval is not None:
        reference = endpoint.retrieval.index
        place, _ = follow(reference, folder, RetrievalIndex)
        opened.append(await asyncio.to_thread(open_retriever, place, reference.sha256, endpoint.retrieval))


@asynccontextmanager
async def background(gateway: Gateway, config: RunConfig) -> AsyncIterator[None]:
    """What runs beside the requests: shadow copies and the exchange log."""
    writing = asyncio.create_task(gateway.capture.run()) if gateway.capture else None
    if gateway.endpoint.shadow() is not None:
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
    (engine,) = opened.engines
    return Served(variant, opened.package, opened.text, engine, limits(config, opened.package, opened.place))


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
