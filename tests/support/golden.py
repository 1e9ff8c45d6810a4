"""The committed shapes that everything else builds on: JSON Schemas of the contracts, settings of the commands."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from llmops_shared import contracts
from llmops_shared.command import Verb, settings_help
from llmops_shared.contracts.engine import EngineName
from llmops_shared.errors import LlmopsError
from llmops_shared.hosting.container import container_of
from support.families import variant

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "tests" / "golden"
SERVICES = ("preprocess", "train", "serve", "monitor")


def golden() -> Iterator[tuple[Path, str]]:
    """(path, expected content) of every golden file."""
    for name in sorted(set(contracts.__all__) - {"Contract", "Part", "Reference"}):
        schema = getattr(contracts, name).model_json_schema()
        yield FOLDER / "contracts" / f"{name}.json", json.dumps(schema, indent=2) + "\n"
    yield from engines()
    for service in SERVICES:
        for verb in verbs(service):
            yield FOLDER / "settings" / f"llmops-{service} {verb.name}.txt", settings_help(verb.config) + "\n"


ENGINES: tuple[EngineName, ...] = ("tgi", "vllm", "lmi-vllm", "lmi-trtllm", "lmi-deepspeed", "lmi-accelerate")
INSTANCES = {"llama-3.1-8b": "ml.g5.12xlarge", "mistral-7b": "ml.g6.2xlarge", "qwen2.5-14b": "ml.g5.2xlarge"}
"""Four GPUs; one that has room; and one that holds the model only when it is quantized."""


def engines() -> Iterator[tuple[Path, str]]:
    """What each container gets, for each family of models."""
    for engine in ENGINES:
        for family, instance_type in INSTANCES.items():
            try:
                container = container_of(variant(family), engine, instance_type, 900)
                content = f"{container.image}\n\n{lines(container.environment)}\n{container.properties or ''}"
            except LlmopsError as error:
                content = f"refused: {error}\n"
            yield FOLDER / "engines" / f"{engine} {family} {instance_type}.txt", content


def lines(environment: dict[str, str]) -> str:
    """Variables, one a line."""
    return "".join(f"{name}={value}\n" for name, value in environment.items())


def verbs(service: str) -> list[Verb]:  # type: ignore[type-arg]
    """The verbs of a service's command."""
    import importlib

    found: list[Verb] = importlib.import_module(f"llmops_{service}.cli").VERBS  # type: ignore[type-arg]
    return found


def write() -> None:
    """Writes them all anew and removes what no longer exists."""
    wanted = dict(golden())
    for folder in ("contracts", "settings", "engines"):
        for path in (FOLDER / folder).glob("*"):
            if path not in wanted:
                path.unlink()
    for path, content in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(write())
