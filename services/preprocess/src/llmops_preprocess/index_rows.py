"""The rows that an index is made of, and their tokens."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from tokenizers import Tokenizer

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import fetch_part
from llmops_shared.errors import LlmopsError
from llmops_shared.rows import TextRow


def read_rows(manifest: DatasetManifest, uri: str, splits: Sequence[str] | None) -> list[TextRow]:
    """The rows of the splits. Raises LlmopsError for a chat dataset, a split it does not have, and when there is no row."""
    if manifest.view != "text":
        raise LlmopsError(f"{uri}: is a {manifest.view} dataset, and an index is made of documents; give a dataset with view: text")
    unknown = [name for name in splits or () if name not in manifest.splits]
    if unknown:
        raise LlmopsError(f"splits {', '.join(unknown)}: not in {uri}, which has {', '.join(manifest.splits)}")
    parts = [part for name, split in manifest.splits.items() if splits is None or name in splits for part in split.rows]
    rows = [row for part in parts for row in parse_rows(fetch_part(uri, part))]
    if not rows:
        raise LlmopsError(f"{uri}: has no rows in {', '.join(splits or manifest.splits)}; there is nothing to index")
    return rows


def parse_rows(path: Path) -> list[TextRow]:
    """The rows of one file of JSON lines."""
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            rows.append(TextRow.model_validate_json(line))
        except ValidationError as error:
            raise LlmopsError(f"{path}, line {number}: is no TextRow ({error.errors()[0]['msg']}); run preprocess again") from error
    return rows


class Tokens:
    """Tokens as the dataset's tokenizer cuts them."""

    def __init__(self, manifest: DatasetManifest, uri: str) -> None:
        part = next((part for part in manifest.tokenizer.files if Path(part.path).name == "tokenizer.json"), None)
        if part is None:
            raise LlmopsError(f"{uri}: its tokenizer has no tokenizer.json; make the dataset with a fast tokenizer")
        self._tokenizer = Tokenizer.from_file(str(fetch_part(uri, part)))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Begin and end of each token, in characters."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).offsets)
