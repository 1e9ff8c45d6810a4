"""The source `files`: every file below a folder or prefix, each by the reader its name asks for."""

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from typing import BinaryIO

from llmops_preprocess.archives import DAMAGED, Member, RefusedError, damage, members
from llmops_preprocess.files_config import Files
from llmops_preprocess.fingerprints import digest_over
from llmops_preprocess.jsonl import explain, name_below
from llmops_preprocess.page_text import read_html, read_markdown, read_text
from llmops_preprocess.pdf import read_image, read_pdf
from llmops_preprocess.record import Broken, Record
from llmops_preprocess.scanned_page import PageReader
from llmops_preprocess.slices import Piece
from llmops_preprocess.tables import read_csv, read_json, read_json_lines, read_lines, read_parquet, read_tsv
from llmops_preprocess.urls import read_urls
from llmops_preprocess.word import read_word
from llmops_shared.errors import LlmopsError
from llmops_shared.store import Entry, join, store_for

Reader = Callable[[Member, Files, str, PageReader | None], Iterator[Record | Broken]]
"""Reads a member for a view; with Textract, where it is on."""

READERS: dict[str, Reader] = {
    ".jsonl": read_json_lines, ".ndjson": read_json_lines, ".json": read_json, ".csv": read_csv, ".tsv": read_tsv,
    ".parquet": read_parquet, ".txt": read_text, ".text": read_text, ".md": read_markdown, ".markdown": read_markdown,
    ".html": read_html, ".htm": read_html, ".xhtml": read_html, ".pdf": read_pdf, ".docx": read_word,
    ".png": read_image, ".jpg": read_image, ".jpeg": read_image, ".tif": read_image, ".tiff": read_image,
    ".urls": read_urls,
}  # fmt: skip


def files_of(source: Files) -> list[Entry]:
    """The files of the source. Raises LlmopsError when there are none."""
    entries = store_for(source.uri).entries(source.uri)
    found = [entry for entry in entries if entry.uri == source.uri or selected(name_below(entry.uri, source.uri), source)]
    if not found:
        what = f"none of its {len(entries)} files is selected by include and exclude" if entries else "does not exist, or is empty"
        raise LlmopsError(f"source.uri {source.uri}: {what}; name a file, or a folder with files in it")
    return found


def page_reader(source: Files, out: str) -> PageReader | None:
    """Textract, where the settings turn it on."""
    if source.textract is None:
        return None
    from llmops_preprocess.textract import TextractReader

    return TextractReader(source.textract, join(out, "textract"))


def selected(name: str, source: Files) -> bool:
    """Whether the patterns take the file."""
    return any(fnmatch(name, pattern) for pattern in source.include) and not any(fnmatch(name, pattern) for pattern in source.exclude)


def files_digest(source: Files, out: str | None = None) -> str:
    """A digest over names, sizes and contents of the files."""
    entries = files_of(source)
    return digest_over([name_below(entry.uri, source.uri) for entry in entries], entries, out)


def read_files(
    source: Files, view: str, pages: PageReader | None = None, pieces: Sequence[Piece] | None = None
) -> Iterator[Record | Broken]:
    """A record, or what is wrong, for everything in the files, in order of their names; one document or line in memory at a time."""
    for piece in [Piece(entry.uri) for entry in files_of(source)] if pieces is None else pieces:
        name = name_below(piece.uri, source.uri)
        with piece.open() as file:
            if piece.end is not None:
                yield from read_lines(Member(name, file), source, view, piece.first_line)
                continue
            yield from read_stream(name, file, source, view, pages)


def read_stream(name: str, file: BinaryIO, source: Files, view: str, pages: PageReader | None) -> Iterator[Record | Broken]:
    """What is in a file, or in the files in it."""
    for member in members(name, file):
        if isinstance(member, Broken):
            yield member
            continue
        try:
            yield from read_member(member, source, view, pages)
        except RefusedError as error:
            yield Broken(member.name, 1, str(error))
            break


def read_member(member: Member, source: Files, view: str, pages: PageReader | None, kind: str | None = None) -> Iterator[Record | Broken]:
    """What is in one file, whose kind its name tells where nothing else does."""
    reader = READERS.get(kind or suffix(member.name))
    if reader is None:
        known = " ".join(READERS)
        yield Broken(member.name, 1, f"no reader for {suffix(member.name) or 'a name without suffix'} (known: {known}); see source.exclude")
        return
    try:
        yield from reader(member, source, view, pages)
    except RefusedError:
        raise
    except DAMAGED as error:
        yield Broken(member.name, 1, damage(error))
    except (ValueError, RecursionError) as error:
        yield Broken(member.name, getattr(error, "line", 1), explain(error))


def suffix(name: str) -> str:
    """The last part of the name, in lower case."""
    file = name.rpartition("/")[2].rpartition("!")[2]
    return f".{file.rpartition('.')[2].lower()}" if "." in file else ""
