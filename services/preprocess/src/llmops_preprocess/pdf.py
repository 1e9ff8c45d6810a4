"""PDF and images: the text layer where there is one, Textract for pages without, when it is on."""

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from llmops_preprocess.archives import Member
from llmops_preprocess.bounded import whole
from llmops_preprocess.files_config import Files
from llmops_preprocess.page_text import document
from llmops_preprocess.record import Broken, Record
from llmops_preprocess.scanned_page import PageReader, ScannedPage, described
from llmops_preprocess.tiff import num_pages

PASSWORD_NEEDED = 4
"""PDFium's FPDF_ERR_PASSWORD."""
# PDFium writes U+FFFE or U+0002 where a word is broken at the end of a line
BROKEN_WORD = re.compile("[\ufffe\x02]\r?\n?")


def read_pdf(member: Member, source: Files, view: str, pages: PageReader | None) -> Iterator[Record | Broken]:
    """The file is one document, its pages one after the other. Raises ValueError for an encrypted file and for one without text."""
    import pypdfium2

    content = whole(member.stream, source.max_document_bytes)
    try:
        pdf = pypdfium2.PdfDocument(content)
        texts = [page_text(page) for page in pdf]
        # a page without a single object is blank paper, which nobody needs to look at
        unread = [number for number, page in enumerate(pdf) if not texts[number] and any(True for _ in page.get_objects(max_depth=1))]
        scanned = scan(pdf, content, unread, pages) if pages is not None else {}
        title = pdf.get_metadata_value("Title").replace("\0", "").strip()
        pdf.close()
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == PASSWORD_NEEDED:
            raise ValueError("encrypted: a password is needed to read it") from error
        raise ValueError(f"not a PDF, or damaged: {error}") from error
    for number, page in scanned.items():
        texts[number] = page.text
    if not any(texts):
        hint = "" if pages is not None else "; source.textract reads scans"
        raise ValueError(f"no text in its {len(texts)} pages, {len(unread)} of them pictures{hint}")
    metadata = {"pages": str(len(texts))} | ({"title": title} if title else {})
    left = [number for number in unread if not texts[number]]
    if left:
        metadata["pages_without_text"] = ",".join(str(number + 1) for number in left)
    yield document(member, "\n".join(text for text in texts if text), source, view, metadata | described(list(scanned.values())))


def read_image(member: Member, source: Files, view: str, pages: PageReader | None) -> Iterator[Record | Broken]:
    """A scan in PNG, JPEG or TIFF, as Textract reads it. Raises ValueError without Textract."""
    if pages is None:
        raise ValueError("a picture; source.textract reads scans")
    content = whole(member.stream, source.max_document_bytes)
    found = pages.read(content, num_pages(content))
    text = "\n".join(page.text for page in found if page.text)
    if not text:
        raise ValueError("no text in the picture")
    yield document(member, text, source, view, {"pages": str(len(found))} | described(found))


def page_text(page: Any) -> str:
    """The page's text layer, words broken at line ends joined."""
    layer = page.get_textpage()
    text = BROKEN_WORD.sub("", layer.get_text_range()).replace("\0", "").replace("\r\n", "\n")
    layer.close()
    return "\n".join(line.rstrip() for line in text.split("\n")).strip()


def scan(pdf: Any, content: bytes, unread: Sequence[int], pages: PageReader) -> dict[int, ScannedPage]:
    """The pages without text as the reader sees them: one by one, or all in one job where the reader takes whole documents."""
    if len(unread) > 1 and pages.takes_documents:
        found = pages.read(content, len(pdf))
        return {number: found[number] for number in unread if number < len(found)}
    return {number: page for number in unread for page in pages.read(single_page(pdf, number), 1)}


def single_page(pdf: Any, number: int) -> bytes:
    """One page as a file of its own."""
    import pypdfium2

    one = pypdfium2.PdfDocument.new()
    one.import_pages(pdf, [number])
    file = io.BytesIO()
    one.save(file)
    one.close()
    return file.getvalue()
