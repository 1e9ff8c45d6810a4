"""Real English paragraphs that every Python carries, and a small job over them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.dataset import make_dataset
from llmops_shared.contracts import DatasetManifest
from llmops_shared.store import join, store_for

# py3langid takes half a second to load; test_filters.py tries it
QUICK = {"language": {"code": None}}

Preprocess = Callable[..., DatasetManifest]


@pytest.fixture(scope="session")
def paragraphs() -> list[str]:
    """Two hundred different paragraphs of Python's language reference."""
    from pydoc_data.topics import topics

    found = (" ".join(paragraph.split()) for name in sorted(topics) for paragraph in topics[name].split("\n\n"))
    return list(dict.fromkeys(text for text in found if 120 < len(text) < 700 and text[0].isupper() and text.endswith(".")))[:200]


@pytest.fixture
def write_lines() -> Callable[[str, list[Any]], None]:
    """Writes JSON lines; a `bytes` item is written as it is."""

    def write(uri: str, items: list[Any]) -> None:
        lines = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
        store_for(uri).write(uri, b"".join(line + b"\n" for line in lines))

    return write


@pytest.fixture
def preprocess() -> Preprocess:
    """Runs the job over `<root>/raw.jsonl` into `<root>/out`, with a small vocabulary."""

    def run(root: str, **settings: Any) -> DatasetManifest:
        source = {"kind": "jsonl", "uri": join(root, "raw.jsonl"), "licence": "PSF-2.0"}
        defaults = {"name": "small", "out": join(root, "out"), "source": source, "sequence_length": 128, **QUICK}
        if "tokenizer" not in settings:
            defaults["vocab_size"] = 400
        return make_dataset(PreprocessConfig.model_validate({**defaults, **settings}))

    return run


@pytest.fixture
def read_rows() -> Callable[[str, DatasetManifest, str], list[dict[str, Any]]]:
    """Rows of a split."""

    def read(out: str, manifest: DatasetManifest, split: str) -> list[dict[str, Any]]:
        content = b"".join(store_for(out).read(join(out, part.path)) for part in manifest.splits[split].rows)
        return [json.loads(line) for line in content.splitlines()]

    return read
