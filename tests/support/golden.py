"""The committed shapes that everything else builds on: JSON Schemas of the contracts, settings of the commands."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from llmops_shared import contracts
from llmops_shared.command import Verb, settings_help

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "tests" / "golden"
SERVICES = ("preprocess", "train", "serve", "monitor")


def golden() -> Iterator[tuple[Path, str]]:
    """(path, expected content) of every golden file."""
    for name in sorted(set(contracts.__all__) - {"Contract", "Part", "Reference"}):
        schema = getattr(contracts, name).model_json_schema()
        yield FOLDER / "contracts" / f"{name}.json", json.dumps(schema, indent=2) + "\n"
    for service in SERVICES:
        for verb in verbs(service):
            yield FOLDER / "settings" / f"llmops-{service} {verb.name}.txt", settings_help(verb.config) + "\n"


def verbs(service: str) -> list[Verb]:  # type: ignore[type-arg]
    """The verbs of a service's command."""
    import importlib

    found: list[Verb] = importlib.import_module(f"llmops_{service}.cli").VERBS  # type: ignore[type-arg]
    return found


def write() -> None:
    """Writes them all anew and removes what no longer exists."""
    wanted = dict(golden())
    for folder in ("contracts", "settings"):
        for path in (FOLDER / folder).glob("*"):
            if path not in wanted:
                path.unlink()
    for path, content in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(write())
