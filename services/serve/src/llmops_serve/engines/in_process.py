"""The laptop's engine: the model in a child process of the server, on the CPU, with continuous batching."""

import asyncio
import atexit
import json
import logging
import multiprocessing
import queue
import socket
import threading
from collections.abc import AsyncGenerator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from llmops_serve.engines.child import work, work_split
from llmops_serve.engines.engine import EngineError, OverloadError, Prompt, Sampling, Step, UnsupportedError
from llmops_serve.engines.messages import Cancel, Failed, Generate, Ready, Steps, Unloadable, WorkerSettings
from llmops_serve.engines.method import method_of
from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)

Message = Step | EngineError


class InProcessEngine:
    """One model in a child process. All methods are called on one event loop."""

    def __init__(self, name: str, settings: WorkerSettings, max_requests: int, start_timeout_s: float) -> None:
        self._name = name
        self._settings = settings
        self._max_requests = max_requests
        self._start_timeout_s = start_timeout_s
        self._streams: dict[int, asyncio.Queue[Message]] = {}
        self._number = 0
        self._failure: str | None = None
        self._loaded: asyncio.Future[None] | None = None
        self._process: ForkServerProcess | None = None
        self._others: list[ForkServerProcess] = []  # the further parts of a model that is split
        self._connection: Connection | None = None
        self._outbox: queue.SimpleQueue[Generate | Cancel | None] = queue.SimpleQueue()

    async def start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        # torch and the model's code are loaded once, in the fork server, and shared by the models of all variants
        context.set_forkserver_preload(["llmops_serve.engines.worker", modelling_module(self._settings)])
        self._connection, theirs = context.Pipe()
        atexit.register(self._connection.close)  # the worker ends with the pipe; without this a crashing server would wait for it
        name = f"model-{self._name}"
        if self._settings.tensor_parallel == 1:
            self._process = context.Process(target=work, args=(theirs, self._settings), name=name, daemon=True)
        else:
            address = f"127.0.0.1:{free_port()}"
            self._process = context.Process(target=work_split, args=(theirs, self._settings, 0, address), name=name, daemon=True)
            for rank in range(1, self._settings.tensor_parallel):
                arguments = (None, self._settings, rank, address)
                self._others.append(context.Process(target=work_split, args=arguments, name=f"{name}-{rank}", daemon=True))
        with theirs:
            for process in (self._process, *self._others):
                await asyncio.to_thread(process.start)  # returns when the fork server has loaded torch
        loop = asyncio.get_running_loop()
        self._loaded = loop.create_future()
        loop.add_reader(self._connection.fileno(), self._receive)
        # a model that hangs stops reading its pipe; only this thread then waits for it
        threading.Thread(target=send_all, args=(self._connection, self._outbox), daemon=True).start()
        try:
            await asyncio.wait_for(self._loaded, self._start_timeout_s)
        except TimeoutError as error:
            way_out = "raise start_timeout_s"
            raise LlmopsError(
                f"variant {self._name}: {self._settings.model} did not load in {self._start_timeout_s:g} s; {way_out}"
            ) from error

    def failure(self) -> str | None:
        return self._failure

    def num_requests(self) -> int:
        return len(self._streams)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Step, None]:
        if self._failure is not None:
            raise EngineError(self._failure)
        self._check(sampling)
        if len(self._streams) >= self._max_requests:
            raise OverloadError(f"{self._max_requests} requests are under way")
        self._number += 1
        number = self._number
        stream = self._streams[number] = asyncio.Queue()
        self._outbox.put(Generate(number, prompt, sampling))
        finished = False
        try:
            while not finished:
                message = await stream.get()
                finished = isinstance(message, EngineError) or message.finish is not None
                if isinstance(message, EngineError):
                    raise message
                yield message
        finally:
            del self._streams[number]
            if not finished:
                self._outbox.put(Cancel(number))

    def _check(self, sampling: Sampling) -> None:
        """Raises UnsupportedError for what this model cannot do."""
        if sampling.adapter is not None and sampling.adapter not in self._settings.adapters:
            known = ", ".join(sorted(self._settings.adapters)) or "none"
            raise UnsupportedError(f"`adapter_id` {sampling.adapter} is not served here (known: {known})")
        folder = self._settings.adapter if sampling.adapter is None else self._settings.adapters[sampling.adapter]
        if sampling.prompt_logprobs and folder is not None and method_of(folder) in ("PREFIX_TUNING", "PROMPT_TUNING"):
            raise UnsupportedError("`decoder_input_details` is not supported for an adapter that puts learned tokens before the prompt")

    async def stop(self) -> None:
        if self._process is None or self._connection is None:
            return  # it was never started
        atexit.unregister(self._connection.close)
        asyncio.get_running_loop().remove_reader(self._connection.fileno())
        self._fail("the server is stopping")
        self._outbox.put(None)  # ends the sender, which closes the pipe, upon which the worker ends
        for process in self._others:  # they wait for the first part and would do so for ever
            process.kill()
        await asyncio.to_thread(self._process.join, 5)
        if self._process.exitcode is None:
            logger.warning("variant %s: the model does not end; killed", self._name)
            self._process.kill()
            await asyncio.to_thread(self._process.join)

    def _receive(self) -> None:
        """Takes what the worker sent; the event loop calls it when there is something."""
        assert self._connection is not None
        try:
            while self._connection.poll():
                self._take(self._connection.recv())
        except (EOFError, ConnectionResetError):
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            if self._failure is None:
                logger.error("variant %s: the model's process ended", self._name)
                self._fail("the model's process ended; restart the server")

    def _take(self, message: object) -> None:
        match message:
            case Steps(steps):
                for number, step in steps:
                    self._hand_on(number, step)
            case Failed(numbers, reason):
                logger.error("variant %s: %d answers failed: %s", self._name, len(numbers), reason)
                for number in numbers:
                    self._hand_on(number, EngineError(reason))
            case Ready():
                if self._loaded is not None and not self._loaded.done():  # it is when the time was up
                    self._loaded.set_result(None)
            case Unloadable(reason):
                self._fail(reason)

    def _hand_on(self, number: int, message: Message) -> None:
        """To the answer it belongs to, if someone still waits for it."""
        if stream := self._streams.get(number):
            stream.put_nowait(message)

    def _fail(self, reason: str) -> None:
        self._failure = reason
        for stream in self._streams.values():
            stream.put_nowait(EngineError(reason))
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(LlmopsError(f"variant {self._name}: {reason}"))


def send_all(connection: Connection, outbox: "queue.SimpleQueue[Generate | Cancel | None]") -> None:
    """Sends what is put into the outbox, until None; then closes the pipe."""
    while (message := outbox.get()) is not None:
        try:
            connection.send(message)
        except OSError:
            return  # the reader sees the same end and tells everyone
    connection.close()


def free_port() -> int:
    """A port where the parts of a model can meet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def modelling_module(settings: WorkerSettings) -> str:
    """Where transformers keeps the code of this model; a module that does not exist is not preloaded, and no error."""
    kind = json.loads((settings.model / "config.json").read_text(encoding="utf-8"))["model_type"]
    return f"transformers.models.{kind}.modeling_{kind}"
