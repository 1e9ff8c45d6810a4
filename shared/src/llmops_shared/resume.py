"""Keeping finished work: a job whose settings and inputs did not change returns the document it wrote before."""

import json
import logging
from typing import Any, TypeVar

from llmops_shared.config import JobConfig
from llmops_shared.contracts.document import Contract
from llmops_shared.documents import document_uri, read_document, sha256
from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, join, store_for

logger = logging.getLogger(__name__)

D = TypeVar("D", bound=Contract)

REQUEST_FILE = "request.json"


def finished(config: JobConfig, contract: type[D], inputs: dict[str, str]) -> D | None:
    """The document at `config.out` if this very job wrote it; None when there is work to do.

    `inputs` maps each input of the job to the digest of its content. Settings and inputs are kept beside the document in
    `request.json`; `out` and `tracking` are no part of them, for they do not change the result. Raises LlmopsError when the
    folder holds the result of other settings (documents are immutable), or a half-written document (which is moved aside).
    """
    place = document_uri(config.out, contract)
    request = {"settings": config.model_dump(mode="json", exclude={"out", "tracking"}), "inputs": inputs}
    request_uri = join(config.out, REQUEST_FILE)
    store = store_for(place)
    if exists(place):
        document = read_finished(place, contract)
        before = json.loads(store.read(request_uri)) if exists(request_uri) else {}
        if before != json.loads(json.dumps(request)):
            raise LlmopsError(
                f"{place}: was made from other settings or inputs ({', '.join(differences(before, request))}); "
                f"documents are immutable: choose another out=, or delete {config.out}"
            )
        logger.info("kept %s: finished, nothing changed", place)
        return document
    store.write(request_uri, json.dumps(request, indent=2, sort_keys=True).encode() + b"\n")
    return None


def read_finished(place: str, contract: type[D]) -> D:
    """The document, or a message after moving a half-written one aside so that the next run starts afresh."""
    try:
        return read_document(place, contract)
    except LlmopsError as error:
        store, aside = store_for(place), f"{place}.broken"
        content = store.read(place)
        store.write(aside, content)
        store.remove(place)
        raise LlmopsError(
            f"{place}: was half-written by an interrupted run ({len(content)} bytes); moved to {aside}: run the same command again"
        ) from error


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of what differs between two requests."""
    names = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            names.extend(differences(old, new, f"{prefix}{key}."))
        elif old != new:
            names.append(f"{prefix}{key}".removeprefix("settings."))
    return names


def digest_of(uri: str, contract: type[Contract]) -> str:
    """Digest of an input document, for `inputs`. Raises LlmopsError when it is missing."""
    place = document_uri(uri, contract)
    if not exists(place):
        raise LlmopsError(f"{place}: there is no such {contract.__name__}; run the stage that writes it, or correct the path")
    return sha256(store_for(place).read(place))
