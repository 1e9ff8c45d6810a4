"""Textract: exact requests, answers by pages, waiting, throttling, and a cache that pays once. No call leaves the machine."""

import gzip
import hashlib
import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from llmops_preprocess import textract
from llmops_preprocess.files import read_files
from llmops_preprocess.files_config import Files, Textract
from llmops_preprocess.record import Broken
from llmops_preprocess.textract import TextractReader
from llmops_preprocess.textract_blocks import pages_of
from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, join, store_for

ONE_PAGE = b"\x89PNG one page"


def block(kind, number, **more):
    return {"BlockType": kind, "Id": f"{kind}-{number}", "Confidence": 90.0, "Page": number, **more}


def page(number, text):
    return [block("PAGE", number), block("LINE", number, Text=text), block("WORD", number, Text=text)]


@pytest.fixture
def stub(monkeypatch):
    """The real client with canned answers, which checks every request against the service's model."""
    client = boto3.client("textract", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    monkeypatch.setattr(textract, "client", lambda: client)
    monkeypatch.setattr(textract.time, "sleep", lambda seconds: None)
    with Stubber(client) as stub:
        yield stub
        stub.assert_no_pending_responses()


def test_a_picture_is_read_synchronously_and_paid_for_once(tmp_path, stub):
    stub.add_response("detect_document_text", {"Blocks": page(1, "Hello")}, {"Document": {"Bytes": ONE_PAGE}})
    reader = TextractReader(Textract(), str(tmp_path))

    first, second = reader.read(ONE_PAGE, 1), reader.read(ONE_PAGE, 1)

    assert first == second
    assert [(found.text, found.confidence) for found in first] == [("Hello", 90.0)]
    assert [path.name for path in tmp_path.iterdir()] == [f"{hashlib.sha256(ONE_PAGE).hexdigest()}-text.json"]


def tiff(pages, order="<"):
    """A TIFF of empty directories."""
    places = [8 + 6 * number for number in range(pages)] + [0]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", places[0])
    return head + b"".join(struct.pack(order + "HI", 0, place) for place in places[1:])


@pytest.mark.parametrize(
    ("name", "content"), [("a.jpg", b"\xff\xd8\xff picture"), ("a.JPEG", b"\xff\xd8"), ("a.tif", tiff(1)), ("a.tiff", tiff(1, ">"))]
)
def test_a_picture_of_any_kind_is_a_row(tmp_path, stub, name, content):
    (tmp_path / name).write_bytes(content)
    stub.add_response("detect_document_text", {"Blocks": page(1, "Hello")}, {"Document": {"Bytes": content}})
    source = Files(kind="files", uri=str(tmp_path), include=("a.*",), textract=Textract())

    (row,) = read_files(source, "text", TextractReader(Textract(), str(tmp_path / "cache")))

    assert (row.source, row.text, row.metadata["pages"]) == (name, "Hello", "1")


def test_a_tiff_of_many_pages_is_one_job(tmp_path, bucket, stub):
    (tmp_path / "a.tiff").write_bytes(tiff(3))
    stub.add_response("start_document_text_detection", {"JobId": "job-1"})
    blocks = [item for number in (1, 2, 3) for item in page(number, f"page {number}")]
    stub.add_response("get_document_text_detection", {"JobStatus": "SUCCEEDED", "Blocks": blocks})
    textract_settings = Textract(staging=f"{bucket}/staging")
    source = Files(kind="files", uri=str(tmp_path), textract=textract_settings)

    (row,) = read_files(source, "text", TextractReader(textract_settings, join(bucket, "cache")))

    assert (row.text, row.metadata["pages"]) == ("page 1\npage 2\npage 3", "3")


@pytest.mark.parametrize("content", [b"II*\0\x08\0\0\0\0\0\x08\0\0\0", b"II*\0\xff\xff\0\0", b"II*\0\0\0\0\0", tiff(2)[:-3]])
def test_a_tiff_whose_pages_never_end_is_a_dead_letter(tmp_path, stub, content):
    (tmp_path / "a.tiff").write_bytes(content)

    (broken,) = read_files(Files(kind="files", uri=str(tmp_path)), "text", TextractReader(Textract(), str(tmp_path / "cache")))

    assert broken.reason.startswith("damaged TIFF")


def test_other_features_are_another_question(tmp_path, stub):
    asked = {"Document": {"Bytes": ONE_PAGE}, "FeatureTypes": ["TABLES", "FORMS"]}
    stub.add_response("detect_document_text", {"Blocks": page(1, "Hello")})
    stub.add_response("analyze_document", {"Blocks": page(1, "Hello")}, asked)

    TextractReader(Textract(), str(tmp_path)).read(ONE_PAGE, 1)
    TextractReader(Textract(features=("TABLES", "FORMS")), str(tmp_path)).read(ONE_PAGE, 1)

    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("features", "operation"), [((), "document_text_detection"), (("TABLES",), "document_analysis")])
def test_many_pages_are_one_job_whose_answer_comes_in_pages(bucket, stub, features, operation):
    content = b"%PDF three pages"
    digest = hashlib.sha256(content).hexdigest()
    config = Textract(features=features, staging=f"{bucket}/staging")
    request = {
        "DocumentLocation": {"S3Object": {"Bucket": bucket.removeprefix("s3://"), "Name": f"staging/{digest}.pdf"}},
        "ClientRequestToken": digest,
        "JobTag": "llmops-preprocess",
    }
    stub.add_response(f"start_{operation}", {"JobId": "job-1"}, request | ({"FeatureTypes": list(features)} if features else {}))
    get = f"get_{operation}"
    stub.add_response(get, {"JobStatus": "IN_PROGRESS"}, {"JobId": "job-1"})
    stub.add_response(get, {"JobStatus": "IN_PROGRESS"}, {"JobId": "job-1"})
    stub.add_response(get, {"JobStatus": "SUCCEEDED", "Blocks": page(1, "one"), "NextToken": "t"}, {"JobId": "job-1"})
    stub.add_response(get, {"JobStatus": "SUCCEEDED", "Blocks": page(2, "two") + page(3, "three")}, {"JobId": "job-1", "NextToken": "t"})

    reader = TextractReader(config, join(bucket, "cache"))

    assert [found.text for found in reader.read(content, 3)] == ["one", "two", "three"]
    assert not exists(join(bucket, "staging", f"{digest}.pdf"))
    assert [found.text for found in reader.read(content, 3)] == ["one", "two", "three"]


def test_a_job_that_fails_or_never_ends_is_told(bucket, stub):
    reader = TextractReader(Textract(staging=f"{bucket}/staging", timeout_s=1), join(bucket, "cache"))
    stub.add_response("start_document_text_detection", {"JobId": "1"})
    stub.add_response("get_document_text_detection", {"JobStatus": "FAILED", "StatusMessage": "INVALID_IMAGE_TYPE"})
    stub.add_response("start_document_text_detection", {"JobId": "2"})
    stub.add_response("get_document_text_detection", {"JobStatus": "IN_PROGRESS"})

    with pytest.raises(ValueError, match="could not read it: INVALID_IMAGE_TYPE"):
        reader.read(b"%PDF", 2)
    with pytest.raises(LlmopsError, match="job 2 has not ended after 1 s; raise source.textract.timeout_s"):
        reader.read(b"%PDF", 2)
    assert store_for(bucket).entries(join(bucket, "staging")) == []


def test_what_textract_says_of_a_document_is_a_dead_letter_and_what_it_says_of_us_stops(tmp_path, stub):
    reader = TextractReader(Textract(), str(tmp_path))
    stub.add_client_error("detect_document_text", "UnsupportedDocumentException")
    stub.add_client_error("detect_document_text", "AccessDeniedException")

    with pytest.raises(ValueError, match="Textract refuses it: UnsupportedDocumentException"):
        reader.read(ONE_PAGE, 1)
    with pytest.raises(LlmopsError, match="AccessDeniedException"):
        reader.read(ONE_PAGE, 1)
    with pytest.raises(ValueError, match=r"give source\.textract\.staging an s3:// prefix"):
        reader.read(b"%PDF", 2)


@pytest.mark.slow
def test_throttled_calls_are_repeated(tmp_path, monkeypatch):
    asked = []

    class Throttling(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.headers["X-Amz-Target"])
            busy = len(asked) < 3
            body = {"__type": "ProvisionedThroughputExceededException"} if busy else {"Blocks": page(1, "at last")}
            content = json.dumps(body).encode()
            self.send_response(400 if busy else 200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Throttling)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in (("AWS_ENDPOINT_URL_TEXTRACT", f"http://127.0.0.1:{server.server_port}"), ("AWS_DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    textract.client.cache_clear()

    try:
        found = TextractReader(Textract(), str(tmp_path)).read(ONE_PAGE, 1)
        settings: Config = textract.client().meta.config
    finally:
        server.shutdown()
        server.server_close()
        textract.client.cache_clear()

    assert [read.text for read in found] == ["at last"]
    assert asked == ["Textract.DetectDocumentText"] * 3
    assert settings.retries == {"mode": "adaptive", "total_max_attempts": 11}


def test_pages_without_text_are_found_and_only_those_are_read(tmp_path, test_data, stub):
    scanned = test_data / "pdf-samples" / "py-pdf" / "007-imagemagick-images__imagemagick-images.pdf"
    stub.add_response("detect_document_text", {"Blocks": page(1, "the fourth page")})
    stub.add_response("detect_document_text", {"Blocks": page(1, "the fifth page")})
    source = Files(kind="files", uri=str(scanned), textract=Textract())

    (record,) = read_files(source, "text", TextractReader(Textract(), str(tmp_path)))

    assert not isinstance(record, Broken)
    assert record.text.count("the fourth page") == record.text.count("the fifth page") == 1
    assert record.text.index("the fourth page") < record.text.index("the fifth page")
    assert record.metadata == {"pages": "6", "title": "imagemagick-images", "scan_confidence": "90.00"}


def response(test_data, name):
    value = json.loads(gzip.decompress((test_data / "aws-textract-responses" / f"{name}.json.gz").read_bytes()))
    return [block for part in (value if isinstance(value, list) else [value]) for block in part.get("Blocks", [])]


def test_a_real_form_keeps_its_fields_boxes_and_confidence(test_data):
    (form,) = pages_of(response(test_data, "textractor__test_document_to_html_patient_intake_form_sample.png"))

    fields = {item.key: item for item in form.key_values}
    assert len(form.key_values) == 31
    assert sum(item.value in ("selected", "not selected") for item in form.key_values) > 3
    assert all(0 < item.confidence <= 100 for item in fields.values())
    assert form.confidence is not None and form.confidence > 99


def test_a_real_table_keeps_its_cells_in_their_places(test_data):
    blocks = response(test_data, "parser-py__gib1")

    (found,) = pages_of(blocks)

    cells = [block for block in blocks if block["BlockType"] == "CELL"]
    assert len(found.tables) == 3
    assert sum(len(table.rows) * len(table.rows[0]) for table in found.tables) == len(cells) == 58
    words = {block["Id"]: block["Text"] for block in blocks if block["BlockType"] == "WORD"}
    in_cells = [
        words[found] for cell in cells for relation in cell.get("Relationships") or [] for found in relation["Ids"] if found in words
    ]
    assert sorted(" ".join(cell for table in found.tables for row in table.rows for cell in row).split()) == sorted(
        " ".join(in_cells).split()
    )


def test_merged_cells_are_one(test_data):
    (found,) = pages_of(response(test_data, "parser-py__2023-Q2-table-model-sample"))

    (table,) = found.tables
    assert len({len(row) for row in table.rows}) == 1
    flat = " ".join(cell for row in table.rows for cell in row)
    assert len(table.rows) * len(table.rows[0]) == 65
    assert any(cell == "" for row in table.rows for cell in row)
    assert "\n" not in flat


def test_every_real_answer_is_read(test_data):
    for path in sorted((test_data / "aws-textract-responses").glob("*.json.gz")):
        blocks = response(test_data, path.name.removesuffix(".json.gz"))
        found = pages_of(blocks)
        kinds = [block["BlockType"] for block in blocks]
        assert len(found) == kinds.count("PAGE")
        assert sum(len(read.tables) for read in found) == kinds.count("TABLE")
        lines = [block["Text"] for block in blocks if block["BlockType"] == "LINE"]
        assert all(line in "\n".join(read.text for read in found) for line in lines)


def test_lines_nobody_is_sure_of_are_left_out():
    blocks = [block("LINE", 1, Text="sure"), {**block("LINE", 1, Text="guess"), "Id": "x", "Confidence": 40.0}]

    assert [found.text for found in pages_of(blocks, 50)] == ["sure"]
