"""`llmops-serve run`: realizes an Endpoint document as one server process and a process for each model that runs in it."""

import asyncio
import gc
import ipaddress
import logging
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from llmops_serve.app import make_app
from llmops_serve.config import RunConfig
from llmops_serve.front import Front
from llmops_serve.gateway import Gateway
from llmops_serve.generations import Generations
from llmops_serve.limits import read_keys
from llmops_serve.metrics import Metrics
from llmops_serve.protocol import Protocol
from llmops_serve.realize import background, realized
from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)

BACKLOG = 2048  # connections the system keeps until we take them
LAST_CALL_S = 0.5
"""After SIGTERM the server is unwell to load balancers, and tells clients with their next answer that the connection ends. It takes no
further connections once nothing was asked for this long: what the system has accepted and nobody has read would be lost."""
LONGEST_CALL_S = 10.0
GC_THRESHOLD = (10_000, 20, 50)
"""A request makes hundreds of objects and leaves no cycles, so that looking for them every 700 objects would cost more than it finds."""

__all__ = ["Server", "background", "bind", "listen", "make_server", "realized", "run"]


class Server(uvicorn.Server):
    """uvicorn's server with a last call: on SIGTERM it answers on for a moment, and asks for every connection to be closed."""

    def __init__(self, config: uvicorn.Config, front: Front) -> None:
        super().__init__(config)
        self.front = front

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signal; a second one ends at once."""
        if self.front.is_draining:
            super().handle_exit(sig, frame)
            return
        self.front.is_draining = True
        logger.info("draining")
        self._captured_signals.append(sig)
        self._call(asyncio.get_running_loop().time() + LONGEST_CALL_S, -1)

    def _call(self, end: float, num_asked: int) -> None:
        """Ends when nothing was asked since the last look, or the time is over."""
        loop = asyncio.get_running_loop()
        if num_asked == self.front.num_asked or loop.time() > end:
            self.should_exit = True
        else:
            loop.call_later(LAST_CALL_S, self._call, end, self.front.num_asked)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no further connections; those that were taken get a moment to say what they want before idle ones are closed."""
        for server in self.servers:
            server.close()
        if self.front.is_draining:
            await asyncio.sleep(LAST_CALL_S)
        await super().shutdown(sockets)
        for client in list(self.server_state.connections):
            if isinstance(client, Protocol) and client.taken is not None:
                client.taken.give_up()


def run(config: RunConfig) -> None:
    """Serves until SIGTERM or Ctrl-C, then lets running requests finish, copies reach the shadow and the log be written."""
    started = time.perf_counter()
    check_keys(config)
    listener = bind(config.host, config.port)  # before anything is loaded: a port in use is told at once
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn ends on these and then raises them again, for whoever had them before
        signal.signal(number, lambda *_: None)
    import uvloop

    with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, listener, started))


def check_keys(config: RunConfig) -> None:
    """Raises LlmopsError for a server that others can reach and anyone may ask."""
    if config.keys is None and not is_loopback(config.host):
        raise LlmopsError(
            f"host {config.host} can be reached from other machines, so it needs API keys; make one with "
            "`llmops-serve key keys=keys.json name=NAME` and add keys=keys.json, or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def serve(config: RunConfig, listener: socket.socket, started: float) -> None:
    """Loads the models and answers until told to stop."""
    metrics = Metrics()
    async with Generations(config, metrics) as generations:
        server = make_server(generations.current, config)
        generations.front = server.front
        listen(listener)
        host, port = listener.getsockname()[:2]
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, generations.look)
        gc.collect()
        gc.freeze()  # what is loaded now stays, and need not be looked through again and again
        gc.set_threshold(*GC_THRESHOLD)
        logger.info("ready on http://%s:%d (start took %.1f s)", host, port, time.perf_counter() - started)
        await server.serve(sockets=[listener])


def make_server(gateway: Gateway, config: RunConfig) -> Server:
    """The HTTP server of a gateway; it ends when its running requests are answered, or the drain time is over."""
    app = make_app(config.max_payload_bytes, config.max_concurrent_requests)
    keys = read_keys(config.keys) if config.keys else None
    num_replicas = sum(len(gateway.served[variant.name].engine.replicas) for variant in gateway.endpoint.production())
    max_open = config.max_concurrent_requests * num_replicas
    front = Front(app, gateway, gateway.metrics, keys, max_open, config.max_payload_bytes, config.body_timeout_s)
    drain_s = max(1, round(config.drain_timeout_s))
    settings = uvicorn.Config(
        front, http=Protocol, log_config=None, access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=drain_s,
        ws="none", proxy_headers=False, backlog=BACKLOG,
    )  # fmt: skip
    return Server(settings, front)


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
