"""Real pages, books and PDFs: how much of the text comes out."""

import json
import re
from collections import Counter

import pytest

from llmops_preprocess.config import NearDuplicates
from llmops_preprocess.files import read_files
from llmops_preprocess.files_config import Files
from llmops_preprocess.near_duplicates import near_duplicates
from llmops_preprocess.record import Broken, Record


def read(folder, **settings):
    return list(read_files(Files(kind="files", uri=str(folder), **settings), "text"))


def word_f1(found, wanted):
    """F1 over the words with their numbers, in whatever order."""
    ours, theirs = (Counter(re.findall(r"\w+", text.lower())) for text in (found, wanted))
    common = (ours & theirs).total()
    return 2 * common / (ours.total() + theirs.total()) if common else 0.0


@pytest.mark.slow
def test_main_text_of_web_pages(test_data):
    wanted = json.loads((test_data / "html-articles" / "ground-truth.json").read_text())

    found = {item.source.split("!")[1].removesuffix(".html"): item for item in read(test_data / "html-articles", include=("*.tar.gz",))}

    scores = [word_f1(getattr(found[name], "text", ""), page["articleBody"]) for name, page in wanted.items()]
    assert len(scores) == 95
    assert sum(scores) / len(scores) >= 0.95
    assert all(isinstance(item, Record) for item in found.values())


def test_a_book_as_text_html_and_pdf_is_one_document(test_data):
    html, pdf, text = read(test_data / "book-three-formats", include=("alice.*",))

    assert [record.source for record in (html, pdf, text)] == ["alice.htm", "alice.pdf", "alice.txt"]
    assert min(word_f1(html.text, text.text), word_f1(pdf.text, text.text), word_f1(html.text, pdf.text)) >= 0.997
    assert near_duplicates([html.content, pdf.content, text.content], NearDuplicates()) == {0, 1}


def test_pdfs_of_many_makers_are_read_and_encrypted_and_image_only_ones_named(test_data):
    found = {
        item.source.rpartition("/")[2].rpartition("__")[2] or item.source: item
        for item in read(test_data / "pdf-samples", include=("*.pdf",))
    }

    broken = {name: item.reason for name, item in found.items() if isinstance(item, Broken)}
    assert len(found) == 44
    assert broken == {
        "libreoffice-writer-password.pdf": "encrypted: a password is needed to read it",
        "imagemagick-ASCII85Decode.pdf": "no text in its 1 pages, 1 of them pictures; source.textract reads scans",
        "imagemagick-lzw.pdf": "no text in its 1 pages, 1 of them pictures; source.textract reads scans",
        "cmyk-image.pdf": "no text in its 1 pages, 1 of them pictures; source.textract reads scans",
        "issue-203-decimalize.pdf": "no text in its 3 pages, 3 of them pictures; source.textract reads scans",
    }
    for published in json.loads((test_data / "pdf-samples" / "py-pdf" / "files.json").read_text()):
        name = published["path"].rpartition("__")[2]
        assert published["encrypted"] == ("encrypted" in broken.get(name, ""))
        if name not in broken:
            assert found[name].metadata["pages"] == str(published["pages"])
    assert found["imagemagick-images.pdf"].metadata["pages_without_text"] == "4,5"
