"""Model servers with OpenAI's routes that answer at once, slowly or not at all, and Endpoint documents with a gateway before them."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmops_shared.contracts import Endpoint, ModelPackage, Reference
from llmops_shared.contracts.endpoint import Capture, Variant
from llmops_shared.documents import describe, write_document
from llmops_shared.resume import digest_of

TEXT = "ok " * 50
WHOLE = json.dumps(
    {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 50, "total_tokens": 59},
    }
).encode()  # fmt: skip
WHOLE_TEXT = json.dumps(
    {
        "id": "c", "object": "text_completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "text": TEXT, "logprobs": None}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 50, "total_tokens": 59},
    }
).encode()  # fmt: skip
TEMPLATE = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}<|assistant|>"


class Upstream:
    """One server on a port of 127.0.0.1; its behaviour may be changed while it runs."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        """Before an answer, and between the pieces of a streamed one."""
        self.num_pieces = 5
        self.status = 200
        self.max_open: int | None = None
        """Requests at a time; one more is answered with 429."""
        self.hangs = False
        self.hold_after_first = False
        """Whether a stream stops after its first piece until its client goes away."""
        self.num_asked = self.num_open = self.num_cut = self.most_open = self.num_connections = 0
        self.cut_at: list[float] = []
        """`time.monotonic` of each client that went away before its answer was whole."""
        self.bodies: list[dict[str, Any]] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Dies: no goodbye to anyone."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.num_connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
                body = await reader.readexactly(length) if length else b""
                if head.startswith(b"GET"):
                    writer.write(answer(self.status, b"{}"))
                    continue
                self.num_asked += 1
                self.num_open += 1
                self.most_open = max(self.most_open, self.num_open)
                try:
                    await self._answer(reader, writer, body)
                finally:
                    self.num_open -= 1
        self._writers.discard(writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        if len(self.bodies) < 1000:
            self.bodies.append(json.loads(body))
        if self.max_open is not None and self.num_open > self.max_open:
            writer.write(answer(429, b'{"error": "busy"}'))
            return
        if self.status != 200:
            writer.write(answer(self.status, b'{"error": "out of memory"}'))
            return
        if self.hangs:
            await self._until_gone(reader, 3600)
        if self.delay_s and await self._until_gone(reader, self.delay_s):
            return
        if json.loads(body).get("stream"):
            await self._stream(reader, writer, is_chat=b'"messages":' in body)
        else:
            writer.write(answer(200, WHOLE if b'"messages":' in body else WHOLE_TEXT))
            await writer.drain()

    async def _until_gone(self, reader: asyncio.StreamReader, seconds: float) -> bool:
        """Waits; true, and an end of the connection's work, when the client closes it meanwhile."""
        try:
            await asyncio.wait_for(reader.read(1), seconds)
        except TimeoutError:
            return False
        self.num_cut += 1
        self.cut_at.append(time.monotonic())
        raise ConnectionError

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_chat: bool) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(self.num_pieces):
            if number and (self.delay_s or self.hold_after_first):
                await self._until_gone(reader, 3600 if self.hold_after_first else self.delay_s)
            finish = "stop" if number == self.num_pieces - 1 else None
            told = {"tokens": [f"token_id:{number}"], "token_logprobs": [-0.5], "top_logprobs": [{f"token_id:{number}": -0.5}]}
            text = {"delta": {"content": f"w{number} "}} if is_chat else {"text": f"w{number} ", "logprobs": told}
            writer.write(chunk({"choices": [{"index": 0, **text, "finish_reason": finish}]}))
            await writer.drain()
        writer.write(chunk({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": self.num_pieces}}))
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await writer.drain()


def chunk(event: dict[str, Any]) -> bytes:
    line = f"data: {json.dumps(event)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(line), line)


def answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


@contextlib.contextmanager
def upstreams(number: int) -> Iterator[tuple[list[Upstream], asyncio.AbstractEventLoop]]:
    """Servers in a thread of their own, and its loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers = [Upstream() for _ in range(number)]
    for server in servers:
        call(loop, server.start())
    try:
        yield servers, loop
    finally:
        for server in servers:
            call(loop, server.stop())
        call(loop, asyncio.sleep(0.05))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        loop.close()


def call(loop: asyncio.AbstractEventLoop, work: Any) -> Any:
    """Runs a coroutine on the servers' loop."""
    return asyncio.run_coroutine_threadsafe(work, loop).result(30)


def write_remote_package(folder: Path, context: int = 2048) -> ModelPackage:
    """A package whose weights are elsewhere: a tokenizer of bytes and a chat template. Needs no torch."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    model = folder / "model"
    model.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({sign: number for number, sign in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(model / "tokenizer.json"))
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    package = ModelPackage(
        name=folder.name, run=Reference(uri="run.json", sha256=""), evaluation=None, layout="merged",
        files=[describe(path, str(path.relative_to(folder))) for path in sorted(model.iterdir())], architecture="LlamaForCausalLM",
        num_parameters=1, max_context_tokens=context, dtype="float32", registered_model=None,
    )  # fmt: skip
    write_document(str(folder), package)
    return package


def remote_variant(folder: Path, name: str, urls: Sequence[str], **changes: Any) -> Variant:
    """A variant whose model runs behind these URLs; its package lies beside the endpoint's folder."""
    package = folder / f"package-{name}"
    if not (package / "package.json").exists():
        write_remote_package(package)
    reference = Reference(uri=f"../package-{name}/package.json", sha256=digest_of(str(package), ModelPackage))
    return Variant.model_validate({"name": name, "package": reference, "engine": "vllm", "urls": list(urls), **changes})


def write_remote_endpoint(
    folder: Path, variants: Sequence[Variant], capture: str | None = "../exchanges", generation: int = 1, **changes: Any
) -> Path:
    """The folder of an Endpoint document."""
    endpoint = Endpoint.model_validate(
        {
            "name": "chat", "generation": generation, "previous": None, "reason": "test", "evidence": None, "variants": list(variants),
            "retrieval": None, "capture": Capture(uri=capture) if capture else None, **changes,
        }
    )  # fmt: skip
    place = folder / f"endpoint-{generation}"
    write_document(str(place), endpoint)
    return place


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class GatewayProcess:
    """`llmops-serve run` as a process of its own."""

    def __init__(self, endpoint: Path, *words: str) -> None:
        from llmops_serve.server_process import free_port

        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "llmops_serve.cli", "run", f"endpoint={endpoint}", f"port={self.port}", *words]
        self.started = time.monotonic()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        while not any("ready on" in line for line in list(self.log)):
            if self.process.poll() is not None or time.monotonic() - self.started > 60:
                raise AssertionError(f"the gateway did not start: {''.join(self.log)}")
            time.sleep(0.005)
        self.start_s = time.monotonic() - self.started
        self.start_cpu_s = self.cpu_s()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)

    def memory_mb(self) -> float:
        """Resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20

    def cpu_s(self) -> float:
        """CPU seconds so far."""
        return cpu_s(self.process.pid)

    def num_files(self) -> int:
        """Open files and connections."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def metrics(self, key: str = "") -> str:
        """Its `/metrics`."""
        request = urllib.request.Request(f"{self.url}/metrics", headers={"authorization": f"Bearer {key}"} if key else {})
        with urllib.request.urlopen(request, timeout=30) as response:
            return str(response.read().decode())

    def hang_up(self) -> None:
        """SIGHUP."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self._reader.join(5)
            assert self.process.stderr is not None
            self.process.stderr.close()


if __name__ == "__main__":  # one server as a process, for benchmarks: port, and milliseconds before an answer

    async def main() -> None:
        server = Upstream()
        server.delay_s = float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0
        server.hangs = len(sys.argv) > 3 and sys.argv[3] == "hang"
        server.status = 500 if len(sys.argv) > 3 and sys.argv[3] == "fail" else 200
        await server.start(int(sys.argv[1]))
        await asyncio.Event().wait()

    import uvloop

    uvloop.run(main())
