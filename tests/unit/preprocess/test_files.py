"""The source `files`: every format, wrapped and bare, gives the same rows."""

import csv
import gzip
import io
import json
import tarfile
import zipfile

import pytest
import zstandard

from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.files import files_digest, read_files
from llmops_preprocess.files_config import Files
from llmops_preprocess.record import Broken, Record
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for

ROWS = [{"text": "The first text.", "topic": "a"}, {"text": "Zwei, mit Umlaut: ü.", "topic": "b"}]
ARTICLE = "The reader opens a service and knows what it reads, what it does and what it writes, without looking anywhere else."

PAGE = f"""<html><head><title>A &amp; B</title></head><body><nav>Home | About</nav><article><p>{ARTICLE}</p></article>
<script>go()</script></body></html>"""


def read(root, view="text", **settings):
    return list(read_files(Files(kind="files", uri=root, **settings), view))


def write(root, name, content):
    store_for(root).write(join(root, name), content)


def as_csv(rows, delimiter=","):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def as_lines(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_tar(files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def as_zip(files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def as_word():
    import docx

    word = docx.Document()
    word.core_properties.title = "Notes"
    word.add_heading("What it does", 2)
    word.add_paragraph("A paragraph.")
    table = word.add_table(2, 2)
    for cell, text in zip((cell for row in table.rows for cell in row.cells), ("key", "value", "a|b", "2"), strict=True):
        cell.text = text
    word.add_paragraph("One thing", style="List Bullet")
    file = io.BytesIO()
    word.save(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("rows.jsonl", as_lines(ROWS), (1, 2)),
        ("rows.ndjson", b"\xef\xbb\xbf" + as_lines(ROWS), (1, 2)),
        ("rows.json", json.dumps(ROWS, indent=1).encode(), (1, 2)),
        ("rows.json", json.dumps({"data": ROWS}).encode(), (1, 2)),
        ("rows.csv", as_csv(ROWS), (2, 3)),
        ("rows.tsv", as_csv(ROWS, "\t"), (2, 3)),
        ("rows.parquet", as_parquet(ROWS), (1, 2)),
    ],
)
def test_files_of_records_say_the_same(tmp_path, name, content, lines):
    write(str(tmp_path), name, content)

    expected = [Record(f"{name}:{line}", row["text"], "CC0-1.0", {"topic": row["topic"]}) for line, row in zip(lines, ROWS, strict=True)]
    assert read(str(tmp_path), metadata_fields=("topic",), licence="CC0-1.0") == expected


@pytest.mark.parametrize(
    ("name", "content", "text", "metadata"),
    [
        ("a.txt", b"\xef\xbb\xbfPlain\r\ntext.\n", "Plain\r\ntext.\n", {}),
        ("a.md", b"---\ntitle: 'A book'\nby: me\n---\n# Head\n\nText.\n", "# Head\n\nText.\n", {"title": "A book"}),
        ("a.md", b"# Head\n\n---\n\nText.\n", "# Head\n\n---\n\nText.\n", {}),
        (
            "a.html",
            PAGE.encode(),
            ARTICLE,
            {"title": "A & B"},
        ),
        (
            "a.docx",
            as_word(),
            "## What it does\n\nA paragraph.\n\n| key | value |\n| --- | --- |\n| a\\|b | 2 |\n\n- One thing",
            {"title": "Notes"},
        ),
    ],
)
def test_a_document_is_one_row(tmp_path, name, content, text, metadata):
    write(str(tmp_path), name, content)

    assert read(str(tmp_path)) == [Record(name, text, "unknown", metadata)]


@pytest.mark.parametrize(
    ("name", "wrapped", "inside"),
    [
        ("rows.jsonl.gz", gzip.compress(as_lines(ROWS)), "rows.jsonl"),
        ("rows.jsonl.zst", zstandard.compress(as_lines(ROWS)), "rows.jsonl"),
        ("all.tar", as_tar({"in/rows.jsonl": as_lines(ROWS)}), "all.tar!in/rows.jsonl"),
        ("all.tar.gz", gzip.compress(as_tar({"rows.jsonl": as_lines(ROWS)})), "all.tar!rows.jsonl"),
        ("all.tgz", gzip.compress(as_tar({"rows.jsonl": as_lines(ROWS)})), "all.tar!rows.jsonl"),
        ("all.tar.zst", zstandard.compress(as_tar({"rows.jsonl": as_lines(ROWS)})), "all.tar!rows.jsonl"),
        ("all.zip", as_zip({"in/rows.jsonl": as_lines(ROWS)}), "all.zip!in/rows.jsonl"),
        ("all.zip", as_zip({"rows.parquet": as_parquet(ROWS)}), "all.zip!rows.parquet"),
        ("all.tar", as_tar({"b.zip": as_zip({"rows.jsonl.gz": gzip.compress(as_lines(ROWS))})}), "all.tar!b.zip!rows.jsonl"),
    ],
)
def test_wrapped_files_say_the_same(tmp_path, name, wrapped, inside):
    write(str(tmp_path), name, wrapped)

    assert [(record.source, record.text) for record in read(str(tmp_path))] == [
        (f"{inside}:{number}", row["text"]) for number, row in enumerate(ROWS, 1)
    ]


def test_files_are_read_in_order_of_their_names_as_the_patterns_select(root):
    for name in ("b/2.txt", "a/1.txt", "a/notes.bin", "c.md"):
        write(root, name, name.encode())

    assert [record.source for record in read(root, exclude=("*.bin",))] == ["a/1.txt", "b/2.txt", "c.md"]
    assert [record.source for record in read(root, include=("*.txt",))] == ["a/1.txt", "b/2.txt"]
    with pytest.raises(LlmopsError, match="none of its 4 files is selected"):
        read(root, include=("*.pdf",))
    with pytest.raises(LlmopsError, match="does not exist, or is empty"):
        read(join(root, "none"))


def test_a_file_nobody_reads_is_told_not_passed_over(tmp_path):
    write(str(tmp_path), "a.bin", b"x")
    write(str(tmp_path), "scan.png", b"\x89PNG")

    reasons = [item.reason for item in read(str(tmp_path)) if isinstance(item, Broken)]

    assert reasons[0].startswith("no reader for .bin (known: .jsonl")
    assert reasons[1] == "a picture; source.textract reads scans"


def test_the_digest_follows_names_and_contents(tmp_path):
    source = Files(kind="files", uri=str(tmp_path))
    write(str(tmp_path), "a.txt", b"one")
    first = files_digest(source)
    write(str(tmp_path), "a.txt", b"two")
    second = files_digest(source)
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")

    assert len({first, second, files_digest(source)}) == 3


def test_the_job_reads_a_folder_of_everything_and_counts_all_of_it(root, paragraphs, preprocess):
    texts = iter(paragraphs)
    write(root, "raw/a.jsonl.gz", gzip.compress(as_lines([{"text": next(texts)} for _ in range(60)] + [{"body": 1}])))
    write(root, "raw/b.zip", as_zip({f"{number}.txt": next(texts).encode() for number in range(60)}))
    write(root, "raw/c.csv", as_csv([{"text": next(texts)} for _ in range(60)]))
    write(root, "raw/d.txt", b"")

    manifest = preprocess(root, source={"kind": "files", "uri": join(root, "raw"), "licence": "PSF-2.0"}, max_bad=2)

    out = join(root, "out")
    letters = [json.loads(line) for line in store_for(out).read(join(out, "dead_letter.jsonl")).splitlines()]
    assert letters == [
        {"source": "a.jsonl", "line": 61, "reason": "has no field 'text'"},
        {"source": "d.txt", "line": 1, "reason": "empty file"},
    ]
    assert manifest.counts[0].model_dump() == {"stage": "read", "rows_in": 182, "rows_out": 180, "dropped": {"broken": 2}}
    assert manifest.sources[0].kind == "files"
    assert manifest.sources[0].uri == "../raw"
    with pytest.raises(LlmopsError, match="2 of 182 records are broken, max_bad=1 allows 1"):
        preprocess(root, source={"kind": "files", "uri": join(root, "raw")}, max_bad=1, out=join(root, "strict"))


def test_settings_of_the_source_are_checked():
    with pytest.raises(ValueError, match=r"source\.files\.uri"):
        PreprocessConfig.model_validate({"name": "x", "out": "y", "source": {"kind": "files"}})
