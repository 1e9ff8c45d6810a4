"""Reading, writing and linking contract documents."""

import hashlib
import logging
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from llmops_shared.contracts.document import Contract, Part, Reference
from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, folder_of, join, relative, store_for

logger = logging.getLogger(__name__)

D = TypeVar("D", bound=Contract)


def sha256(content: bytes | Path) -> str:
    """SHA-256 in hexadecimal of bytes or of a local file, read in pieces."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def document_uri(uri: str, contract: type[Contract]) -> str:
    """The document's own URI: as given when it names a JSON file, else the contract's file in that folder."""
    return uri if uri.endswith(".json") else join(uri, contract.file_name)


def read_document(uri: str, contract: type[D]) -> D:
    """Reads a document by its URI or its folder. Raises LlmopsError when it is missing, half-written or of another kind."""
    place = document_uri(uri, contract)
    if not exists(place):
        raise LlmopsError(f"{place}: there is no such {contract.__name__}; run the stage that writes it, or correct the path")
    try:
        return contract.model_validate_json(store_for(place).read(place))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(name) for name in first["loc"]) or "the document"
        raise LlmopsError(
            f"{place}: is not a complete {contract.__name__} ({where}: {first['msg']}); delete it and run the stage that writes it again"
        ) from error


def write_document(uri: str, document: Contract) -> None:
    """Writes a document, the last act of a job. `uri` is its folder or its own URI."""
    place = document_uri(uri, type(document))
    store_for(place).write(place, document.to_json())
    logger.info("wrote %s", place)


def refer(uri: str, contract: type[Contract], folder: str) -> Reference:
    """A reference to an existing document, as written from `folder`."""
    place = document_uri(uri, contract)
    if not exists(place):
        raise LlmopsError(f"{place}: there is no such {contract.__name__}; run the stage that writes it, or correct the path")
    return Reference(uri=relative(place, folder), sha256=sha256(store_for(place).read(place)))


def follow(reference: Reference, folder: str, contract: type[D]) -> tuple[str, D]:
    """The URI and content of a referenced document. Raises LlmopsError when it changed since it was referred to."""
    place = join(folder, reference.uri)
    document = read_document(place, contract)
    found = sha256(store_for(place).read(place))
    if found != reference.sha256:
        raise LlmopsError(
            f"{place}: changed since it was referred to (sha256 {found[:12]}, expected {reference.sha256[:12]}); "
            f"documents are immutable: run the stages after it again into a new folder"
        )
    return place, document


def describe(path: Path, name: str) -> Part:
    """The Part of a local file that is to be stored under `name` in the document's folder."""
    return Part(path=name, size_bytes=path.stat().st_size, sha256=sha256(path))


def store_part(folder: str, name: str, content: bytes | Path) -> Part:
    """Writes a part of a document (a local file is moved) and returns its description."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    part = Part(path=name, size_bytes=size, sha256=sha256(content))
    place = join(folder, name)
    store_for(place).write(place, content)
    return part


def fetch_part(uri: str, part: Part) -> Path:
    """A local path of a part of the document at `uri`. Raises LlmopsError when its content is not the one described."""
    place = join(folder_of(uri), part.path)
    path = store_for(place).fetch(place)
    if path.stat().st_size != part.size_bytes or sha256(path) != part.sha256:
        raise LlmopsError(f"{place}: is damaged: size or sha256 differ from {uri}; delete its folder and run the stage again")
    return path
