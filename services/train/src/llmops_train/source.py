"""Where a model comes from: one of our documents, a directory, an `s3://` prefix, or the Hugging Face hub. No torch here."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmops_shared.contracts import DatasetManifest, ModelPackage, Part, TrainingRun
from llmops_shared.documents import document_uri, fetch_part, follow, read_document, sha256
from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, folder_of, join, store_for
from llmops_train.methods.kinds import has_adapter

# everything a model directory needs; pickle files (.bin, .pt, .pth, .ckpt) and code (.py) are left out
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer.model", "*.txt", "*.jinja")

OTHER_WEIGHTS = {".bin", ".pt", ".pth", ".ckpt", ".h5", ".gguf", ".msgpack"}

HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


@dataclass(frozen=True)
class Source:
    """A model by what identifies it; nothing is loaded yet."""

    kind: Literal["run", "package", "directory"]
    """What is at `place`."""
    given: str
    """The URI or id as written in the config."""
    place: str
    """URI of the document, or of the directory."""
    sha256: str
    """Digest of the document, or over the names and contents of the directory's files."""


@dataclass(frozen=True)
class ModelFiles:
    """A model on the local disk."""

    folder: Path
    """Model directory: config and safetensors."""
    adapters: tuple[Path, ...]
    """Adapters to lay over it, in order."""
    tokenizer: Path
    """Directory with the tokenizer."""


def identify(uri: str) -> Source:
    """Finds out what `uri` names. Raises LlmopsError when it is nothing a model can be loaded from."""
    for kind, contract in (("run", TrainingRun), ("package", ModelPackage)):
        place = document_uri(uri, contract)
        if place.endswith(f"/{contract.file_name}") and exists(place):
            return Source(kind, uri, place, sha256(store_for(place).read(place)))  # type: ignore[arg-type]
    if exists(join(uri, "config.json")):
        return Source("directory", uri, uri, digest_of_directory(uri))
    if HUB_ID.match(uri) and not store_for(uri).entries(uri):
        folder = download(uri)
        return Source("directory", uri, folder, digest_of_directory(folder))
    raise LlmopsError(
        f"{uri}: holds no run.json, package.json or config.json; give the folder of a TrainingRun or ModelPackage, "
        f"a model directory, an s3:// prefix or a Hugging Face id"
    )


def download(hub_id: str) -> str:
    """The local snapshot of a model of the hub: safetensors, JSON and tokenizer files only."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return str(snapshot_download(hub_id, allow_patterns=list(MODEL_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise LlmopsError(
            f"model {hub_id}: is no folder here, and the Hugging Face hub does not give it ({str(error).splitlines()[0]}); "
            f"correct the path or id, or give a local copy"
        ) from error


def model_paths(folder: Path) -> list[Path]:
    """The files of a model directory that are used, in order. Raises LlmopsError when the weights are no safetensors."""
    found = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.is_file()})
    if not any(path.suffix == ".safetensors" for path in found):
        others = sorted(path.name for path in folder.iterdir() if path.suffix in OTHER_WEIGHTS)
        raise LlmopsError(
            f"{folder}: has no *.safetensors{f' (has {others[0]})' if others else ''}; other weight files can run code when "
            f"they are opened and are refused: convert the model to safetensors where you trust its source"
        )
    return found


def digest_of_directory(uri: str) -> str:
    """Digest over the names and contents of a model directory's files."""
    lines = [f"{path.name} {sha256(path)}\n" for path in model_paths(store_for(uri).fetch(uri))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def open_source(source: Source) -> ModelFiles:
    """Brings a model's files to the local disk, each checked against its digest, the models it stands on included."""
    match source.kind:
        case "run":
            return open_run(source.place, read_document(source.place, TrainingRun))
        case "package":
            return open_package(source.place, read_document(source.place, ModelPackage))
        case "directory":
            folder = store_for(source.place).fetch(source.place)
            model_paths(folder)
            return ModelFiles(folder, (), folder)


def open_run(place: str, run: TrainingRun) -> ModelFiles:
    """The files of a run; below an adapter those of the model it belongs to."""
    folder = fetch_parts(place, run.weights)
    if not has_adapter(run):
        return ModelFiles(folder, (), folder)
    below = open_base(place, run)
    return ModelFiles(below.folder, (*below.adapters, folder), folder)


def open_base(place: str, run: TrainingRun) -> ModelFiles:
    """The files of the model that a run started from. Raises LlmopsError when that model is another one now."""
    if run.parent is not None:
        return open_run(*follow(run.parent, folder_of(place), TrainingRun))
    if run.base_model is None:
        raise LlmopsError(f"{place}: names neither parent nor base_model, so its adapter belongs to no model; train it again")
    source = identify(run.base_model.uri)
    if source.sha256 != run.base_model.sha256:
        raise LlmopsError(
            f"{run.base_model.uri}: is not the model that {place} was trained on (sha256 {source.sha256[:12]}, "
            f"expected {run.base_model.sha256[:12]}); put the old model back or train again"
        )
    return open_source(source)


def open_package(place: str, package: ModelPackage) -> ModelFiles:
    """The files of a package of either layout."""
    model = fetch_parts(place, [part for part in package.files if part.path.startswith("model/")])
    if package.layout == "merged":
        return ModelFiles(model, (), model)
    adapter = fetch_parts(place, [part for part in package.files if part.path.startswith("adapter/")])
    return ModelFiles(model, (adapter,), model)


def fetch_parts(place: str, parts: list[Part]) -> Path:
    """The local folder of parts that lie in one folder."""
    paths = [fetch_part(place, part) for part in parts]
    if not paths:
        raise LlmopsError(f"{place}: names no weights; delete its folder and run the stage again")
    return paths[0].parent


def fetch_tokenizer(place: str, manifest: DatasetManifest) -> Path:
    """The local folder of a dataset's tokenizer."""
    return fetch_parts(place, manifest.tokenizer.files)


def read_settings(place: str) -> dict[str, object]:
    """The settings a document was made with, from the request beside it; empty when there is none."""
    request = join(folder_of(place), "request.json")
    if not exists(request):
        return {}
    settings: dict[str, object] = json.loads(store_for(request).read(request)).get("settings", {})
    return settings
