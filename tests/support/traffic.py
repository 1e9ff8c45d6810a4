"""Traffic for tests: questions about the standard library, answered by a good and by a poor model, as an endpoint's capture."""

import functools
import hashlib
import importlib
import inspect
import random
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from llmops_shared.contracts import DatasetManifest, Endpoint, Exchange, ModelPackage, Reference
from llmops_shared.contracts.dataset import Split, Tokenizer
from llmops_shared.contracts.endpoint import Capture, Variant
from llmops_shared.contracts.exchange import Message
from llmops_shared.documents import refer, sha256, store_part, write_document
from llmops_shared.rows import ChatRow
from llmops_shared.store import join, store_for

START = datetime(2026, 11, 23, 10, tzinfo=UTC)
MODULES = (
    "os", "os.path", "shutil", "itertools", "functools", "math", "statistics", "json", "re", "random", "pathlib", "collections", "string", "textwrap",
    "tempfile", "glob", "fnmatch", "copy", "inspect", "ast", "csv", "zipfile", "tarfile", "gzip", "subprocess", "socket", "datetime", "calendar", "heapq",
    "bisect", "operator", "contextlib", "types", "asyncio", "threading", "logging", "email.utils", "urllib.parse", "html", "difflib", "fractions", "decimal",
)  # fmt: skip
QUESTIONS = ("What does {name} do?", "Which function of {module} does this: {summary}", "What is the signature of {name}?")

Answer = Callable[[str, random.Random], str]


@functools.cache
def questions() -> tuple[ChatRow, ...]:
    """Questions on documented functions, each with its answer, in an order without meaning."""
    rows = {}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name, member in inspect.getmembers(module, callable):
            summary = (inspect.getdoc(member) or "").partition("\n\n")[0].replace("\n", " ")
            if name.startswith("_") or len(summary) < 20 or inspect.isclass(member):
                continue
            for kind, template in enumerate(QUESTIONS):
                prompt = template.format(name=f"{module_name}.{name}", module=module_name, summary=summary)
                answer = (summary, f"{module_name}.{name}", signature(member))[kind]
                rows[prompt] = chat(prompt, answer, str(kind))
    return tuple(sorted(rows.values(), key=lambda row: row.id))


@functools.cache
def code_questions() -> tuple[ChatRow, ...]:
    """Questions that carry source code: traffic of another kind."""
    rows = []
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name, member in inspect.getmembers(module, inspect.isfunction):
            if member.__module__ == module.__name__ and member.__code__.co_filename == module.__file__:
                rows.append(chat(f"Why does this fail?\n{inspect.getsource(member)[:600]}", f"It is {module_name}.{name}.", "code"))
    return tuple(sorted({row.id: row for row in rows}.values(), key=lambda row: row.id))


def signature(member: object) -> str:
    try:
        # a default may show an address, or the handlers that logging has just then: what a process did before would change the order
        shown = re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(member)))  # type: ignore[arg-type]
        return re.sub(r"<weakref; to '\w+'>(, )?", "", shown)
    except (TypeError, ValueError):
        return "(...)"


def chat(prompt: str, answer: str, kind: str) -> ChatRow:
    messages = [Message(role="user", content=prompt), Message(role="assistant", content=answer)]
    row_id = hashlib.sha256(f"{prompt}\0{answer}".encode()).hexdigest()[:16]
    return ChatRow(id=row_id, messages=messages, source="python", metadata={"question": kind}, licence="PSF-2.0")


def good(reference: str, draw: random.Random) -> str:
    """Nine words of ten are right."""
    return " ".join(word if draw.random() < 0.9 else "thing" for word in reference.split())


def poor(reference: str, draw: random.Random) -> str:
    """Half of the words are right, and it goes on."""
    return " ".join([*(word if draw.random() < 0.5 else "the" for word in reference.split()), "and", "so", "on"])


def exchange(row: ChatRow, number: int, answer: Answer, shadow: bool = False, **changes: object) -> Exchange:
    """The answer of one variant; `number` gives request id and time."""
    draw = random.Random(f"{row.id} {number} {shadow}")
    response = answer(row.messages[-1].content, draw)
    latency_ms = 40 + 5 * len(response.split()) + draw.expovariate(0.1)
    fields = {
        "request_id": f"request-{number:05d}",
        "time": START + timedelta(seconds=number),
        "endpoint": "assistant",
        "endpoint_sha256": "e" * 64,
        "variant": "shadow" if shadow else "production",
        "shadow": shadow,
        "package_sha256": sha256(package(shadow).to_json()),
        "route": "/v1/chat/completions",
        "messages": row.messages[:-1],
        "response": response,
        "finish_reason": "stop",
        "num_prompt_tokens": len(row.messages[0].content) // 3 + 1,
        "num_response_tokens": len(response) // 3 + 1,
        "latency_ms": latency_ms,
        "first_token_ms": latency_ms / 5,
        "error": None,
        "retrieval": None,
        "metadata": {"row_id": row.id, "window": "in_domain"},
    }
    return Exchange.model_validate(fields | changes)


def paired(rows: Sequence[ChatRow], production: Answer = poor, shadow: Answer = good, **changes: object) -> list[Exchange]:
    """Both answers to each row."""
    return [
        exchange(row, number, answer, is_shadow, **changes)
        for number, row in enumerate(rows)
        for answer, is_shadow in ((production, False), (shadow, True))
    ]


def package(shadow: bool) -> ModelPackage:
    """A package document; nothing reads its model here."""
    return ModelPackage(
        name="tuned" if shadow else "base", run=Reference(uri="../run/run.json", sha256="0" * 64), evaluation=None, layout="merged", files=[],
        architecture="LlamaForCausalLM", num_parameters=1, max_context_tokens=256, dtype="float32", registered_model=None,
    )  # fmt: skip


class Scene(NamedTuple):
    """Where the documents of a test are."""

    endpoint: str
    dataset: str
    exchanges: str


def write_scene(root: str, exchanges: Sequence[Exchange], rows: Sequence[ChatRow] = (), split: str = "test") -> Scene:
    """Packages, an endpoint with a shadow, its exchange log and the chat dataset its prompts came from."""
    scene = Scene(join(root, "endpoint"), join(root, "chat"), join(root, "exchanges"))
    variants = []
    for shadow in (False, True):
        folder = join(root, f"package-{package(shadow).name}")
        write_document(folder, package(shadow))
        name = "shadow" if shadow else "production"
        variants.append(Variant(name=name, package=refer(folder, ModelPackage, scene.endpoint), shadow=shadow))
    endpoint = Endpoint(
        name="assistant", generation=2, previous=None, reason="shadow tuned", evidence=None, variants=variants, retrieval=None,
        capture=Capture(uri="../exchanges"),
    )  # fmt: skip
    write_document(scene.endpoint, endpoint)
    write_log(scene.exchanges, exchanges)
    part = store_part(scene.dataset, f"{split}/rows.jsonl", "".join(row.model_dump_json() + "\n" for row in rows).encode())
    manifest = DatasetManifest(
        name="chat", view="chat", sources=[], counts=[], sequence_length=256, tokenizer=Tokenizer(files=[], vocab_size=4096),
        splits={split: Split(num_rows=len(rows), num_tokens=0, rows=[part], shards=[])}, dead_letter=None,
    )  # fmt: skip
    write_document(scene.dataset, manifest)
    return scene


def write_log(folder: str, exchanges: Sequence[Exchange], file: str = "2026/11/23/10.jsonl") -> None:
    """Exchanges as JSON lines, below the folder."""
    place = join(folder, file)
    store_for(place).write(place, "".join(exchange.model_dump_json() + "\n" for exchange in exchanges).encode())
