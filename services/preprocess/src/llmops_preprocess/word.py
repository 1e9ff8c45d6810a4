"""Word documents."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from llmops_preprocess.archives import MAX_RATIO, UNSUSPECTED_BYTES, Member, RefusedError
from llmops_preprocess.bounded import TooLongError, whole
from llmops_preprocess.files_config import Files
from llmops_preprocess.page_text import document
from llmops_preprocess.record import Broken, Record
from llmops_preprocess.scanned_page import markdown_table


def read_word(member: Member, source: Files, view: str, pages: object = None) -> Iterator[Record | Broken]:
    """The file is one document: paragraphs and tables in their order, headings and tables marked as in Markdown."""
    import docx
    from docx.opc.exceptions import PackageNotFoundError

    content = whole(member.stream, source.max_document_bytes)
    check_size(content, source.max_document_bytes)
    try:
        word = docx.Document(io.BytesIO(content))
    except (PackageNotFoundError, KeyError, SyntaxError) as error:  # lxml's XMLSyntaxError is a SyntaxError
        raise ValueError(f"not a Word document, or damaged: {str(error)[:200]}") from error
    parts = [part for item in word.iter_inner_content() if (part := written(item))]
    title = (word.core_properties.title or "").strip()
    yield document(member, "\n\n".join(parts), source, view, {"title": title} if title else {})


def check_size(content: bytes, limit: int) -> None:
    """Raises RefusedError for a bomb, and TooLongError; zipfile reads no more of a part than its entry says."""
    with zipfile.ZipFile(io.BytesIO(content)) as package:
        size = sum(info.file_size for info in package.infolist())
    if size > UNSUSPECTED_BYTES and size > MAX_RATIO * len(content):
        raise RefusedError(f"archive bomb: {size} bytes in {len(content)}, more than {MAX_RATIO} to one")
    if size > limit:
        raise TooLongError("document", limit)


def written(item: Any) -> str:
    """A paragraph or a table in Markdown."""
    if hasattr(item, "rows"):
        return markdown_table([[cell.text for cell in row.cells] for row in item.rows])
    text: str = item.text.strip()
    style = item.style.name if item.style is not None else ""
    level = style.removeprefix("Heading ")
    if text and level.isdigit():
        return f"{'#' * int(level)} {text}"
    return f"- {text}" if text and style.startswith("List") else text
