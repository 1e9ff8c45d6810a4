"""A server on a free port of 127.0.0.1 inside the test's process, and engines that do what a test says."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from llmops_serve.capture import CaptureLog
from llmops_serve.config import RunConfig
from llmops_serve.engines.engine import EngineError, OverloadError, Prompt, Sampling, Step
from llmops_serve.gateway import Gateway
from llmops_serve.guard.guard import Guard
from llmops_serve.job import Limits, Served
from llmops_serve.metrics import Metrics
from llmops_serve.replicas import Replica, Replicas
from llmops_serve.retrieve import Retriever
from llmops_serve.server import background, bind, listen, make_server
from llmops_serve.text import ModelText
from llmops_shared.contracts import Endpoint, ModelPackage, Reference
from llmops_shared.contracts.endpoint import Arm, Capture, Variant
from support.tiny_package import make_tokenizer

WORDS = [" one", " two", " three", " four"]


class ScriptedEngine:
    """Answers every prompt with the same words; `before_each` runs ahead of every token and may wait or fail."""

    def __init__(self, words: Sequence[str] = WORDS, before_each: Callable[[], object] | None = None, max_requests: int = 100) -> None:
        self.words = words
        self.before_each = before_each
        self.max_requests = max_requests
        self.prompts: list[Prompt] = []
        self.num_running = 0
        self.num_cancelled = 0

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    def failure(self) -> str | None:
        return None

    def num_requests(self) -> int:
        return self.num_running

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Step, None]:
        if self.num_running >= self.max_requests:
            raise OverloadError("full")
        self.prompts.append(prompt)
        self.num_running += 1
        finished = False
        try:
            for number, word in enumerate(self.words, 1):
                if self.before_each is not None:
                    waiting = self.before_each()
                    if asyncio.iscoroutine(waiting):
                        await waiting
                await asyncio.sleep(0)
                finished = number == len(self.words)
                yield Step(number, word, -0.5, False, "length" if finished else None)
        finally:
            self.num_running -= 1
            self.num_cancelled += not finished


def hang() -> object:
    """For `before_each`: a model that never answers."""
    return asyncio.Event().wait()


def fail() -> object:
    """For `before_each`: a model that breaks."""
    raise EngineError("out of memory")


def variant(name: str, shadow: bool = False, weight: float = 1.0) -> Variant:
    return Variant(name=name, package=Reference(uri=f"{name}/package.json", sha256=name * 8), shadow=shadow, weight=weight)


def make_gateway(
    folder: Path,
    engines: dict[str, ScriptedEngine],
    capture_uri: str | None = None,
    sample_rate: float = 1.0,
    retriever: Retriever | dict[str | None, Retriever] | None = None,
    context: int = 64,
    max_shadow_queue: int = 100,
    guard: Guard | None = None,
    arms: Sequence[Arm] = (),
) -> Gateway:
    """A gateway over scripted engines; the one named `shadow` is the shadow."""
    if not (folder / "tokenizer.json").exists():
        make_tokenizer().save_pretrained(str(folder))
    package = ModelPackage(
        name="scripted",
        run=Reference(uri="run.json", sha256=""),
        evaluation=None,
        layout="merged",
        files=[],
        architecture="LlamaForCausalLM",
        num_parameters=1,
        max_context_tokens=context,
        dtype="float32",
        registered_model=None,
    )
    endpoint = Endpoint(
        name="scripted",
        generation=1,
        previous=None,
        reason="test",
        evidence=None,
        variants=[variant(name, shadow=name == "shadow") for name in engines],
        retrieval=None,
        capture=Capture(uri=capture_uri, sample_rate=sample_rate) if capture_uri else None,
        arms=list(arms),
    )
    text = ModelText(folder)
    served = [
        Served(one, package, text, Replicas([Replica(engines[one.name])], 60), Limits(context - 1, context, 4, 4))
        for one in endpoint.variants
    ]
    capture = CaptureLog(capture_uri, "start") if capture_uri else None
    retrievers = retriever if isinstance(retriever, dict) else {None: retriever} if retriever else {}
    return Gateway(endpoint, "e" * 64, served, retrievers, capture, Metrics(), max_shadow_queue, guard)


@asynccontextmanager
async def scripted(gateway: Gateway, config: RunConfig) -> AsyncGenerator[Gateway, None]:
    """The gateway with its background work, as `realized` gives it."""
    async with background(gateway, config):
        yield gateway


def settings(**changes: object) -> RunConfig:
    """RunConfig on a free port."""
    return RunConfig.model_validate({"endpoint": "none", "port": 0, "drain_timeout_s": 0.2, **changes})


@contextlib.contextmanager
def serving(gateway: Callable[[], AbstractAsyncContextManager[Gateway]], config: RunConfig) -> Iterator[str]:
    """The URL of a server that runs in a thread and has ended, all written, when the block ends."""
    with bind(config.host, config.port) as listener:
        ready, failures, servers = threading.Event(), [], []

        async def main() -> None:
            async with gateway() as running:
                server = make_server(running, config)
                servers.append(server)
                listen(listener)
                ready.set()
                await server.serve(sockets=[listener])

        def work() -> None:
            try:
                asyncio.run(main())
            except BaseException as error:  # noqa: BLE001 - raised again by the test's thread
                failures.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=work)
        thread.start()
        ready.wait()
        try:
            if failures:
                raise failures[0]
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for server in servers:
                server.should_exit = True
            thread.join()
    if failures:
        raise failures[0]
