"""Documents that are text already: plain, Markdown, and the main text of a web page."""

import logging
import re
from collections.abc import Iterator

from llmops_preprocess.archives import Member
from llmops_preprocess.bounded import whole
from llmops_preprocess.files_config import Files
from llmops_preprocess.record import Broken, Record

FRONT_MATTER = re.compile(r"\A---\n(?P<fields>.*?\n)(?:---|\.\.\.)\n", re.DOTALL)
TITLE = re.compile(r"^title:\s*(.+?)\s*$", re.MULTILINE)


class BadTextError(ValueError):
    """Text that is none; knows its line."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


def read_text(member: Member, source: Files, view: str, pages: object = None) -> Iterator[Record | Broken]:
    """The file is one document."""
    yield document(member, decoded(whole(member.stream, source.max_document_bytes)), source, view)


def read_markdown(member: Member, source: Files, view: str, pages: object = None) -> Iterator[Record | Broken]:
    """The file is one document, its marks left in place; front matter is taken off, and its title kept."""
    text = decoded(whole(member.stream, source.max_document_bytes)).replace("\r\n", "\n")
    front = FRONT_MATTER.match(text)
    metadata = {}
    if front is not None:
        text = text[front.end() :]
        title = TITLE.search(front["fields"])
        metadata = {"title": title[1].strip("\"'")} if title else {}
    yield document(member, text, source, view, metadata)


def read_html(member: Member, source: Files, view: str, pages: object = None) -> Iterator[Record | Broken]:
    """The page's main text as trafilatura finds it (Barbaresi 2021, aclanthology.org/2021.acl-demo.15); without menus and comments."""
    import trafilatura

    # it logs an error for every page it finds nothing in; ours are in the dead letters
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    content = whole(member.stream, source.max_document_bytes)
    tree = trafilatura.load_html(content)
    # precision first: on the article extraction benchmark it gains a point of F1 over the default
    text = None if tree is None else trafilatura.extract(tree, include_comments=False, favor_precision=True)
    if tree is None or not text:
        raise ValueError("no main text in the page")
    title = " ".join((tree.findtext(".//title") or "").split())
    yield document(member, text, source, view, {"title": title} if title else {})


def document(member: Member, text: str, source: Files, view: str, metadata: dict[str, str] | None = None) -> Record:
    """The file's one record. Raises ValueError where conversations are wanted, and for text that is none."""
    if view == "chat":
        raise ValueError("a document holds no conversation; view: chat reads .jsonl, .json, .csv and .parquet")
    check_text(text)
    return Record(member.name, text, source.licence, metadata or {})


def decoded(content: bytes) -> str:
    """UTF-8, with or without a byte order mark. Raises BadTextError with the line of the first wrong byte."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadTextError(f"not UTF-8 at byte {error.start}", content.count(b"\n", 0, error.start) + 1) from error


def check_text(text: str) -> None:
    """Raises BadTextError for a NUL, the mark of a binary file, and ValueError for text of nothing but space."""
    at = text.find("\0")
    if at >= 0:
        raise BadTextError(f"NUL character at {at}", text.count("\n", 0, at) + 1)
    if not text.strip():
        raise ValueError("no text")
