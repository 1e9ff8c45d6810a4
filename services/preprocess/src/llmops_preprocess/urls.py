"""Lists of URLs: each line's document is fetched and read by the reader its media type asks for."""

from collections.abc import Iterator

from llmops_preprocess.archives import Member
from llmops_preprocess.bounded import TooLongError, bounded_lines
from llmops_preprocess.fetch import FetchError, fetch
from llmops_preprocess.files_config import Files
from llmops_preprocess.record import Broken, Record
from llmops_preprocess.scanned_page import PageReader

MAX_URL_BYTES = 8192
SUFFIX_OF = {
    "text/html": ".html", "application/xhtml+xml": ".html", "text/plain": ".txt", "text/markdown": ".md", "application/pdf": ".pdf",
    "application/json": ".json", "application/x-ndjson": ".jsonl", "application/jsonl": ".jsonl", "text/csv": ".csv",
    "text/tab-separated-values": ".tsv", "application/vnd.apache.parquet": ".parquet", "image/png": ".png", "image/jpeg": ".jpg",
    "image/tiff": ".tif", "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
}  # fmt: skip
"""The reader of a media type (IANA's names)."""
NAMELESS = (
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "application/gzip",
    "application/zip",
    "application/x-tar",
    "application/zstd",
)
"""Media types that say nothing of what is inside: the name of the file in the URL tells."""


def read_urls(member: Member, source: Files, view: str, pages: PageReader | None = None) -> Iterator[Record | Broken]:
    """What the URLs of a list lead to; empty lines and those that open with `#` are none."""
    if source.fetch is None:
        raise ValueError("a list of URLs, and fetching is off; set source.fetch={} to reach the network")
    for number, line in bounded_lines(member.stream, MAX_URL_BYTES):
        if isinstance(line, TooLongError):
            yield Broken(member.name, number, f"URL is longer than {MAX_URL_BYTES} bytes")
        elif (url := line.decode("utf-8", "replace").strip()) and not url.startswith("#"):
            for item in read_url(url, source, view, pages):
                yield Broken(member.name, number, f"{item.source}: {item.reason}") if isinstance(item, Broken) else item


def read_url(url: str, source: Files, view: str, pages: PageReader | None) -> Iterator[Record | Broken]:
    """What one URL leads to."""
    from llmops_preprocess.files import read_member, read_stream

    assert source.fetch is not None
    try:
        found = fetch(url, source.fetch, source.max_document_bytes)
    except FetchError as error:
        yield Broken(shown(url), 1, str(error))
        return
    with found.body as body:
        if (suffix := SUFFIX_OF.get(found.content_type)) is not None:
            yield from read_member(Member(found.url, body), source, view, pages, suffix)
        elif found.content_type in NAMELESS and not found.url.partition("?")[0].endswith(".urls"):
            yield from read_stream(found.url.partition("?")[0], body, source, view, pages)
        else:
            yield Broken(found.url, 1, f"no reader for the media type {found.content_type}")


def shown(url: str) -> str:
    """A URL that was not fetched, without what may be a secret in it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"[:200] if rest else url[:200]
