"""Annotations by rules and by Comprehend: the same records out; requests to the byte, batches within the limits."""

import json

import boto3
import pytest
from botocore.stub import Stubber
from pydantic import ValidationError

from llmops_preprocess import comprehend
from llmops_preprocess.annotate import annotate
from llmops_preprocess.annotate_config import Annotate
from llmops_preprocess.annotations import Annotation
from llmops_preprocess.comprehend import MAX_BATCH_BYTES, ComprehendAnnotator, pieces
from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.record import Record
from llmops_shared.contracts.exchange import Message
from llmops_shared.errors import LlmopsError

CLASSIFIER = "arn:aws:comprehend:us-east-1:111122223333:document-classifier-endpoint/topics"
MAIL = "Please write to jane@example.org before Friday, all of you who read this."


@pytest.fixture
def stub(monkeypatch):
    """The real client with canned answers, which checks every request against the service's model."""
    client = boto3.client("comprehend", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    monkeypatch.setattr(comprehend, "client", lambda: client)
    with Stubber(client) as stub:
        yield stub
        stub.assert_no_pending_responses()


def record(text):
    return Record("a.txt", text, "CC0-1.0")


def entity(kind, begin, end, score=0.99):
    return {"Type": kind, "BeginOffset": begin, "EndOffset": end, "Score": score}


def test_rules_and_comprehend_annotate_alike(stub):
    stub.add_response(
        "batch_detect_dominant_language",
        {"ResultList": [{"Index": 0, "Languages": [{"LanguageCode": "en", "Score": 1.0}]}], "ErrorList": []},
        {"TextList": [MAIL]},
    )
    stub.add_response("detect_pii_entities", {"Entities": [entity("EMAIL", 16, 32)]}, {"Text": MAIL, "LanguageCode": "en"})

    (laptop,), _ = annotate([record(MAIL)], Annotate(detect=("language", "pii")))
    (cloud,), count = annotate([record(MAIL)], Annotate(detect=("language", "pii"), annotator="comprehend"))

    ours, theirs = (json.loads(found.metadata["annotations"]) for found in (laptop, cloud))
    assert [item[:3] for item in ours] == [item[:3] for item in theirs] == [["LANGUAGE:en", 0, len(MAIL)], ["EMAIL", 16, 32]]
    assert MAIL[16:32] == "jane@example.org"
    assert count.model_dump() == {"stage": "annotate", "rows_in": 1, "rows_out": 1, "dropped": {}}


def test_annotations_mask_and_drop(stub):
    stub.add_response("detect_pii_entities", {"Entities": [entity("NAME", 0, 4), entity("EMAIL", 5, 8, 0.3)]})
    stub.add_response("detect_pii_entities", {"Entities": []})
    stub.add_response("detect_pii_entities", {"Entities": [entity("NAME", 3, 7)]})
    stub.add_response("classify_document", {"Classes": [{"Name": "spam", "Score": 0.9}]}, {"Text": "Buy now", "EndpointArn": CLASSIFIER})
    stub.add_response("classify_document", {"Labels": [{"Name": "spam", "Score": 0.2}]}, {"Text": "Hello", "EndpointArn": CLASSIFIER})
    turns = Message(role="user", content="Jane a@b"), Message(role="assistant", content="Hello")
    chat = Record("a", "Jane a@b\n\nHello", "x", messages=turns, rejected=(Message(role="assistant", content="No Jane"),))

    (masked,), _ = annotate([chat], Annotate(detect=("pii",), annotator="comprehend", pii="mask"))
    kept, count = annotate(
        [record("Buy now"), record("Hello")],
        Annotate(detect=("classes",), annotator="comprehend", classifier_arn=CLASSIFIER, drop_classes=("spam",)),
    )

    assert [message.content for message in masked.messages] == ["[NAME] a@b", "Hello"]
    assert masked.rejected[0].content == "No [NAME]"
    assert masked.text == "[NAME] a@b\n\nHello"
    assert [found.text for found in kept] == ["Hello"]
    assert count.dropped == {"class": 1}


def test_languages_are_a_filter_on_the_laptop_too():
    german = record("Der schnelle braune Fuchs springt über den faulen Hund, und niemand wundert sich darüber.")

    kept, count = annotate([german, record(MAIL)], Annotate(detect=("language",), keep_languages=("en",)))

    assert [found.text for found in kept] == [MAIL]
    assert count.dropped == {"other_language": 1}


def test_batches_hold_25_texts_of_5000_bytes_and_offsets_count_in_the_whole_text(stub):
    long = "Umlaut ü und Wörter. " * 400
    texts = ["short"] * 24 + [long]
    asked = []
    for batch in range(2):
        stub.add_response("batch_detect_entities", {"ResultList": [{"Index": 0, "Entities": [entity("DATE", 1, 3)]}], "ErrorList": []})
        assert batch < 2
    comprehend.client().meta.events.register("provide-client-params.*", lambda params, **_: asked.append(params))

    found = ComprehendAnnotator(Annotate(detect=("entities",), annotator="comprehend")).annotate(texts)

    lists = [params["TextList"] for params in asked]
    assert [len(texts) for texts in lists] == [25, len(list(pieces(0, long, MAX_BATCH_BYTES))) - 1]
    assert all(len(text.encode()) <= 5000 for texts in lists for text in texts)
    assert "".join([lists[0][24], *lists[1]]) == long
    (second,) = found[24]
    assert second == Annotation("DATE", len(lists[0][24]) + 1, len(lists[0][24]) + 3, 0.99, "comprehend")


def test_real_answers_become_annotations(test_data, stub):
    lines = (test_data / "aws-comprehend-responses" / "doc_examples.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    batch = next(
        item["json"] for item in answers if item["section"] == "Multiple document synchronous processing" and "ResultList" in item["json"]
    )
    found_pii = next(item["json"] for item in answers if item["page"] == "how-pii.md")
    labels = next(item["json"] for item in answers if "Labels" in item["json"])["Labels"]
    stub.add_response("batch_detect_entities", batch)
    stub.add_response("detect_pii_entities", found_pii)
    stub.add_response("classify_document", {"Labels": labels})
    ask = ComprehendAnnotator(Annotate(detect=("classes",), annotator="comprehend", classifier_arn=CLASSIFIER))

    first, second = ask.entities(["I have been living in Seattle for almost 4 years", "It is raining today in Seattle"])

    assert [(item.type, item.begin, item.end) for item in first] == [("LOCATION", 22, 29), ("QUANTITY", 34, 48)]
    assert [(item.type, item.begin, item.end) for item in second] == [("DATE", 14, 19), ("LOCATION", 23, 30)]
    assert [item.type for item in ask.pii(["x" * 200])[0]] == ["NAME", "CREDIT_DEBIT_NUMBER", "ADDRESS"]
    assert [(item.type, item.score) for item in ask.classes(["x"])[0]] == [
        ("CLASS:Action", 0.8642),
        ("CLASS:Drama", 0.65),
        ("CLASS:Science Fiction", 0.0372),
    ]


def test_an_error_names_the_operation_and_never_the_text(stub):
    stub.add_client_error("detect_pii_entities", "AccessDeniedException", "not for you")
    stub.add_response(
        "batch_detect_entities", {"ResultList": [], "ErrorList": [{"Index": 0, "ErrorCode": "INTERNAL", "ErrorMessage": "?"}]}
    )
    ask = ComprehendAnnotator(Annotate(detect=("pii",), annotator="comprehend"))

    with pytest.raises(LlmopsError, match="^Comprehend answers detect_pii_entities with AccessDeniedException$"):
        ask.pii(["secret"])
    with pytest.raises(LlmopsError, match="batch_detect_entities fails for a text: INTERNAL"):
        ask.entities(["secret"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"detect": ["entities"]}, "detect entities needs annotator: comprehend"),
        ({"detect": ["classes"], "annotator": "comprehend"}, "classes and classifier_arn go together"),
        ({"detect": ["language"], "pii": "mask"}, "pii acts on what detect pii finds"),
        ({"keep_languages": ["en"]}, "keep_languages acts on what detect language finds"),
    ],
)
def test_settings_without_effect_are_refused(settings, expected):
    with pytest.raises(ValidationError, match=expected):
        Annotate.model_validate(settings)


def test_the_job_annotates_where_it_is_told_to(tmp_path, paragraphs, preprocess, write_lines, read_rows):
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": f"{text} Ask jane{number}@example.org."} for number, text in enumerate(paragraphs)])

    manifest = preprocess(str(tmp_path), annotate={"detect": ["pii"], "pii": "mask"})

    rows = read_rows(str(tmp_path / "out"), manifest, "train")
    assert [count.stage for count in manifest.counts if count.stage == "annotate"] == ["annotate"]
    assert all(row["text"].endswith("Ask [EMAIL].") and "EMAIL" in row["metadata"]["annotation_types"] for row in rows)


def test_masking_library_entries_is_refused_for_their_questions_come_from_elsewhere():
    with pytest.raises(ValidationError, match=r"annotate\.pii masks documents, and source\.kind is python_stdlib"):
        PreprocessConfig.model_validate({"name": "x", "out": "y", "annotate": {"detect": ["pii"], "pii": "mask"}})
