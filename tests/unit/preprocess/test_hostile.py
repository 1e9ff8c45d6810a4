"""Hostile input: every broken thing is a dead letter with place and reason, what is around it is read, memory stays bounded."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
import time
import zipfile

import pytest
import zstandard

from llmops_preprocess.files import read_files
from llmops_preprocess.files_config import Files
from llmops_preprocess.record import Broken

GOOD = b'{"text": "good"}\n'
DEEP = b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def read(folder, **settings):
    return list(read_files(Files(kind="files", uri=str(folder), **settings), "text"))


def told(items):
    """Place and reason of the broken, text of the rest."""
    return [(item.source, item.line, item.reason) if isinstance(item, Broken) else item.text for item in items]


def write(folder, name, content):
    (folder / name).write_bytes(content)


def test_broken_lines_are_told_and_the_others_read(tmp_path):
    bad = [b"{", b'{"text": "\xff"}', b'{"text": "a\x00b"}', b'{"text": "a\\u0000b"}', DEEP, b'{"text": 7}', b"[1]", b"7", b'{"text": ""}']
    write(tmp_path, "a.jsonl", GOOD + b"\n".join(bad) + b"\n" + GOOD)

    found = told(read(tmp_path))

    assert found[0] == found[-1] == "good"
    assert [(line, reason.split(" at ")[0]) for _, line, reason in found[1:-1]] == [
        (2, "not JSON: Expecting property name enclosed in double quotes"),
        (3, "not UTF-8"),
        (4, "not JSON: Invalid control character"),
        (5, "NUL character"),
        (6, "not JSON: nested too deeply"),
        (7, "field 'text' must be a str, this is a int"),
        (8, "a JSON object is needed, this is a list"),
        (9, "a JSON object is needed, this is a int"),
        (10, "no text"),
    ]


def test_a_broken_array_tells_where_it_breaks(tmp_path):
    write(tmp_path, "a.json", b'[{"text": "good"}, {"text": 7}, {"text": "good"}, {"text": ]')
    write(tmp_path, "b.json", b"[" + DEEP + b', {"text": "good"}]')
    write(tmp_path, "c.json", b"nonsense")
    write(tmp_path, "d.json", b" ")

    found = told(read(tmp_path))

    assert found[0] == found[2] == "good"
    assert found[1] == ("a.json", 2, "field 'text' must be a str, this is a int")
    assert found[3][:2] == ("a.json", 4)
    assert "not JSON" in found[3][2] and "the rest of the file is not read" in found[3][2]
    assert found[4] == ("b.json", 1, "not JSON: nested too deeply")
    assert found[5] == "good"
    assert [item[2].split(":")[0] for item in found[6:]] == ["not JSON", "empty file"]


def test_broken_rows_of_a_table_are_told(tmp_path):
    write(tmp_path, "a.csv", b'text,n\ngood,1\nshort\nlong,1,2\n\xff,1\n"two\nlines",2\n"open')
    write(tmp_path, "b.parquet", b"PAR1 and nothing else PAR1")

    found = told(read(tmp_path))

    assert found[0] == "good"
    assert found[1:4] == [
        ("a.csv", 3, "row has another number of columns than the header's 2"),
        ("a.csv", 4, "row has another number of columns than the header's 2"),
        ("a.csv", 5, "not UTF-8"),
    ]
    assert found[4] == "two\nlines"
    assert found[5][:2] == ("a.csv", 7)
    assert found[6][2].startswith("not Parquet")


@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        ("a.txt", b"one\ntwo\n\xff", 3, "not UTF-8 at byte 8"),
        ("a.txt", b"one\n\x00", 2, "NUL character at 4"),
        ("a.txt", b"", 1, "empty file"),
        ("a.md", b" \n", 1, "no text"),
        ("a.jsonl", b"", 1, "empty file"),
        ("a.csv", b"", 1, "empty file"),
        ("a.html", b"<html></html>", 1, "no main text in the page"),
        ("a.pdf", b"%PDF-1.7\nnothing", 1, "not a PDF, or damaged: Failed to load document (PDFium: Data format error)."),
        ("a.docx", b"PK\x03\x04 nothing", 1, "damaged archive: File is not a zip file"),
        ("a.gz", b"\x1f\x8b nothing", 1, "no reader for a name without suffix"),
        ("a.txt.gz", b"nothing", 1, "damaged archive: Not a gzipped file (b'no')"),
        (
            "a.txt.gz",
            gzip.compress(b"x" * 5000)[:-9],
            1,
            "damaged archive: Compressed file ended before the end-of-stream marker was reached",
        ),
        ("a.txt.zst", b"nothing", 1, "damaged archive: zstd decompress error: Unknown frame descriptor"),
        ("a.tar", b"nothing" * 200, 1, "damaged archive: invalid header"),
        ("a.tar.gz", gzip.compress(bytes(10240)), 1, "empty archive"),
        ("a.zip", b"nothing", 1, "damaged archive: File is not a zip file"),
    ],
)
def test_a_document_that_is_none_is_told(tmp_path, name, content, line, reason):
    write(tmp_path, name, content)

    (item,) = read(tmp_path)

    assert isinstance(item, Broken)
    assert item.line == line
    assert item.reason.startswith(reason)


def test_links_and_ways_out_of_an_archive_are_refused_and_the_rest_is_read(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("../up.txt", "/etc/abs.txt", "ok.txt"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"text"))
        for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "ok.txt"), (tarfile.FIFOTYPE, "")):
            info = tarfile.TarInfo(f"l{kind!r}.txt")
            info.type, info.linkname = kind, target
            archive.addfile(info)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a/../../up.txt", "text")
        archive.writestr("C:\\up.txt", "text")
        archive.writestr("ok.txt", "text")

    found = told(read(tmp_path))

    assert [item if isinstance(item, str) else item[2].split(":")[0] for item in found] == [
        *["archive member leads out of the archive"] * 2,
        "text",
        "archive member is a link to /etc/passwd",
        "archive member is a link to ok.txt",
        "archive member is a device or pipe",
        "archive member is a link",
        *["archive member leads out of the archive"] * 2,
        "text",
    ]


def gzip_bomb():
    """A gigabyte of zeros, twice wrapped, in a few kilobytes."""
    return gzip.compress(gzip.compress(bytes(1 << 20)) * 1024)


def tar_bomb():
    """A member of 256 MiB."""
    info = tarfile.TarInfo("0.txt")
    info.size = 1 << 28
    return gzip.compress(info.tobuf() + bytes(info.size))


def zip_bomb():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(8):
            archive.writestr(f"{number}.txt", b"a" * (16 << 20))
    return file.getvalue()


def overlapping():
    """A zip whose directory names one compressed megabyte a hundred times (Fifield 2019)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.txt", b"a" * (1 << 20))
        info = archive.infolist()[0]
        for _ in range(100):
            copy = zipfile.ZipInfo(info.filename)
            for slot in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(copy, slot, getattr(info, slot))
            archive.filelist.append(copy)
    return file.getvalue()


def crowded():
    """A zip with a directory of 200,000 empty members."""
    entry = zipfile.ZipInfo("x" * 40)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, b"")
        archive.filelist.extend([entry] * 200_000)
    return file.getvalue()


def itself():
    """An archive in an archive in an archive ..."""
    content = b"text"
    for depth in range(6):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("in.zip" if depth else "in.txt", content)
        content = file.getvalue()
    return content


def word_bomb():
    """A Word document whose text is 256 MiB of one letter."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", b"a" * (1 << 28))
    return file.getvalue()


BOMBS = {
    "bomb.docx": word_bomb,
    "bomb.txt.gz.gz": gzip_bomb,
    "bomb.txt.zst": lambda: zstandard.compress(bytes(1 << 28)),
    "bomb.tar.gz": tar_bomb,
    "bomb.zip": zip_bomb,
    "overlapping.zip": overlapping,
    "crowded.zip": crowded,
    "itself.zip": itself,
}

LIMITED = """
import json, sys, time
from llmops_preprocess.files import read_files
from llmops_preprocess.files_config import Files
started = time.process_time()
found = [getattr(item, "reason", "read") for item in read_files(Files(kind="files", uri=sys.argv[1]), "text")]
seconds = time.process_time() - started
# the peak of this program, which getrusage's is not: that one outlives exec
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([found, seconds, int(peak.split()[1]) / 1024]))
"""


def in_a_process(folder):
    """Reasons, CPU-seconds and peak MiB of reading a folder in a process of its own."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(folder)], capture_output=True, text=True, check=True)
    reasons, seconds, mebibytes = json.loads(done.stdout)
    return reasons, seconds, mebibytes


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_300_mb_and_2_s(tmp_path, name):
    write(tmp_path, name, BOMBS[name]())

    reasons, seconds, mebibytes = in_a_process(tmp_path)

    assert reasons[-1].startswith(("archive bomb", "archives nested", "archive with a directory", "damaged archive: Overlapped"))
    assert seconds < 2
    assert mebibytes < 300


@pytest.mark.slow
def test_a_line_of_200_mb_costs_no_more_than_the_limit(tmp_path):
    for name, before, after in (
        ("a.jsonl", GOOD + b'{"text": "', b'"}\n' + GOOD),
        ("b.json", b'[{"text": "good"}, {"text": "', b'"}]'),
        ("c.csv", b"text\ngood\n", b"\n"),
        ("d.txt", b"", b""),
    ):
        with (tmp_path / name).open("wb") as file:
            file.write(before)
            for _ in range(200):
                file.write(b"a" * (1 << 20))
            file.write(after)

    reasons, _, mebibytes = in_a_process(tmp_path)

    assert [reason.split("(")[0] for reason in reasons] == [
        "read", "line is longer than 67108864 bytes ", "read",
        "read", "not JSON: record is longer than 67108864 bytes ",
        "read", "not CSV: line is longer than 67108864 bytes ",
        "document is longer than 67108864 bytes ",
    ]  # fmt: skip
    assert mebibytes < 300


def test_a_small_limit_is_kept_to_the_byte(tmp_path):
    line = b'{"text": "' + b"a" * 1012 + b'"}'
    write(tmp_path, "a.jsonl", line + b"\n" + line.replace(b"a", b"aa", 1) + b"\n" + GOOD)

    found = told(read(tmp_path, max_document_bytes=1024))

    assert [item if isinstance(item, str) else item[1:] for item in found] == [
        "a" * 1012,
        (2, "line is longer than 1024 bytes (source.max_document_bytes)"),
        "good",
    ]


def test_a_page_nested_100k_deep_does_no_harm(tmp_path):
    write(tmp_path, "a.html", b"<div>" * 100_000 + b"text" + b"</div>" * 100_000)
    started = time.process_time()

    assert len(read(tmp_path)) == 1
    assert time.process_time() - started < 5
