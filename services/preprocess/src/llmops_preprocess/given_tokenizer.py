"""A tokenizer that is not trained here: from a dataset, a folder, S3 or the Hugging Face hub."""

import hashlib
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from llmops_preprocess.tokenizer_files import TOKENIZER_FILES
from llmops_shared.contracts.dataset import DatasetManifest
from llmops_shared.documents import document_uri, fetch_part, read_document, sha256
from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, join, store_for

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def tokenizer_files(uri: str) -> dict[str, Path]:
    """Local paths of the tokenizer's files by name. Raises LlmopsError when there is no such tokenizer."""
    if uri.endswith(".json") or exists(document_uri(uri, DatasetManifest)):
        manifest, place = read_document(uri, DatasetManifest), document_uri(uri, DatasetManifest)
        return {part.path.rpartition("/")[2]: fetch_part(place, part) for part in manifest.tokenizer.files}
    found = {name: join(uri, name) for name in TOKENIZER_FILES if exists(join(uri, name))}
    if found:
        return {name: store_for(place).fetch(place) for name, place in found.items()}
    if urlsplit(uri).scheme or Path(uri).exists() or not HUB_ID.fullmatch(uri):
        raise LlmopsError(
            f"tokenizer {uri}: no dataset and no folder with a tokenizer.json; correct the path, or leave it out to train one"
        )
    return from_hub(uri)


def from_hub(model: str) -> dict[str, Path]:
    """The tokenizer files of a model on the Hugging Face hub, from the local cache when it has them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        folder = Path(snapshot_download(model, allow_patterns=list(TOKENIZER_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise LlmopsError(
            f"tokenizer {model}: is no local folder, and the Hugging Face hub does not give it ({error}); "
            f"correct the path or the id, or download it first and name its folder"
        ) from error
    return {name: folder / name for name in TOKENIZER_FILES if (folder / name).exists()}


def files_digest(files: dict[str, Path]) -> str:
    """A digest over the names and contents of the files."""
    return hashlib.sha256("\n".join(f"{name} {sha256(path)}" for name, path in sorted(files.items())).encode()).hexdigest()


def copy_files(files: dict[str, Path], folder: Path) -> None:
    """Copies them, so that a template can be added and what was given stays as it is."""
    for name, path in files.items():
        shutil.copyfile(path, folder / name)
