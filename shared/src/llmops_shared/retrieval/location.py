"""Where a vector store is, told from its URI alone; imports nothing that is slow."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from llmops_shared.errors import LlmopsError
from llmops_shared.store import join

EMBEDDED = "pgserver:"


def embedded_folder(uri: str, folder: str) -> Path | None:
    """The embedded server's folder for `pgserver:FOLDER`, which is relative to `folder`; None for `postgresql://...`.

    Raises LlmopsError for anything else, for a password in the URI, and when the embedded folder would not be local.
    """
    if uri.startswith(EMBEDDED):
        place = join(folder, uri.removeprefix(EMBEDDED))
        if urlsplit(place).scheme:
            raise LlmopsError(f"store {uri}: the embedded server needs a local folder, not {place}; give store=postgresql://host/database")
        return Path(place)
    parts = urlsplit(uri)
    if parts.scheme not in ("postgresql", "postgres"):
        raise LlmopsError(f"store {uri}: is neither postgresql://host/database nor pgserver:FOLDER")
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise LlmopsError(
            f"store postgresql://...@{parts.hostname}: has a password in it, which would be written into documents; "
            f"give it in PGPASSWORD or in ~/.pgpass"
        )
    return None
