"""Where a vector store is, told from its URI alone; imports nothing that is slow."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, urlsplit

from llmops_shared.errors import LlmopsError
from llmops_shared.store import join

if TYPE_CHECKING:
    from llmops_shared.contracts import Platform

EMBEDDED = "pgserver:"
OPENSEARCH = "opensearch:"
KENDRA = "kendra:"

Kind = Literal["pgvector", "opensearch", "kendra"]
KNOWN = "pgserver:FOLDER, postgresql://user@host/database, aurora://user@host/database, opensearch:https://COLLECTION or kendra:INDEX_ID"


def kind_of(uri: str) -> Kind:
    """What the store is. Raises LlmopsError for a URI that names none."""
    match urlsplit(uri).scheme:
        case "pgserver" | "postgresql" | "postgres" | "aurora":
            return "pgvector"
        case "opensearch":
            return "opensearch"
        case "kendra":
            return "kendra"
        case _:
            raise LlmopsError(f"store {uri}: is none of the words pgvector, opensearch, kendra, and no {KNOWN}")


def store_uri(word: str, platform: "Platform | None") -> str:
    """The URI of `pgvector`, `opensearch` or `kendra`: the platform's, or without one the embedded PostgreSQL; a URI is its own.

    Raises LlmopsError when the platform has no such store.
    """
    if word not in ("pgvector", "opensearch", "kendra"):
        kind_of(word)
        return word
    if platform is None:
        if word == "pgvector":
            return f"{EMBEDDED}pgdata"
        raise LlmopsError(f"store {word}: is made by Terraform; give platform=, its Platform document, or the store's URI ({KNOWN})")
    places = {
        "pgvector": platform.pgvector_host and f"aurora://retrieval@{platform.pgvector_host}:5432/retrieval?region={platform.region}",
        "opensearch": platform.opensearch_endpoint and f"{OPENSEARCH}{platform.opensearch_endpoint}",
        "kendra": platform.kendra_index_id and f"{KENDRA}{platform.kendra_index_id}?region={platform.region}",
    }
    if not (found := places[word]):
        raise LlmopsError(f"store {word}: environment {platform.environment} has none; switch it on under `retrieval:` and apply")
    return found


def check_store(uri: str, folder: str) -> None:
    """Raises LlmopsError when a store of an index in `folder` cannot be at this URI."""
    match kind_of(uri):
        case "pgvector":
            embedded_folder(uri, folder)
        case "opensearch":
            opensearch_place(uri)
        case "kendra":
            kendra_place(uri)


def embedded_folder(uri: str, folder: str) -> Path | None:
    """The embedded server's folder for `pgserver:FOLDER`, which is relative to `folder`; None for a server elsewhere.

    Raises LlmopsError for anything else, for a password in the URI, and when the embedded folder would not be local.
    """
    if uri.startswith(EMBEDDED):
        place = join(folder, uri.removeprefix(EMBEDDED))
        if urlsplit(place).scheme:
            raise LlmopsError(f"store {uri}: the embedded server needs a local folder, not {place}; give store=postgresql://host/database")
        return Path(place)
    parts = urlsplit(uri)
    if parts.scheme not in ("postgresql", "postgres", "aurora"):
        raise LlmopsError(f"store {uri}: is neither postgresql://host/database nor aurora://user@host/database nor pgserver:FOLDER")
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise LlmopsError(
            f"store {parts.scheme}://...@{parts.hostname}: has a password in it, which would be written into documents; "
            f"give it in PGPASSWORD or in ~/.pgpass"
        )
    if parts.scheme == "aurora" and not (parts.username and parts.hostname and parts.path.strip("/")):
        raise LlmopsError(f"store {uri}: needs user, host and database, as aurora://retrieval@CLUSTER.REGION.rds.amazonaws.com/retrieval")
    if parts.scheme == "aurora":
        region_of(uri, parts.hostname or "", parse_qs(parts.query), "rds")
    return None


def opensearch_place(uri: str) -> tuple[str, str]:
    """URL and region of a collection. Raises LlmopsError when either is missing, and for plain HTTP off this machine."""
    url = uri.removeprefix(OPENSEARCH)
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username:
        raise LlmopsError(f"store {uri}: is no opensearch:https://ID.REGION.aoss.amazonaws.com")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise LlmopsError(f"store {uri}: would send documents in clear; give opensearch:https://{parts.netloc}")
    region = region_of(uri, parts.hostname, parse_qs(parts.query), "aoss")
    return f"{parts.scheme}://{parts.netloc}", region


def kendra_place(uri: str) -> tuple[str, str | None]:
    """Index id and region; no region: the environment's. Raises LlmopsError when it is no index id."""
    name, _, query = uri.removeprefix(KENDRA).partition("?")
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9-]{35}", name):
        raise LlmopsError(f"store {uri}: {name!r} is no id of a Kendra index, which has 36 letters, digits and hyphens")
    return name, parse_qs(query).get("region", [None])[0]


def region_of(uri: str, host: str, query: dict[str, list[str]], service: str) -> str:
    """The region in `?region=`, or in the host name as AWS makes them."""
    if "region" in query:
        return query["region"][0]
    found = re.search(rf"\.([a-z]{{2}}(?:-[a-z]+)+-\d)\.{service}\.amazonaws\.com(?:\.cn)?$", host)
    if found is None:
        raise LlmopsError(f"store {uri}: its region is not in the host name; add ?region=, such as ?region=eu-west-1")
    return found[1]
