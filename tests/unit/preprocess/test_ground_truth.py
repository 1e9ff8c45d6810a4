"""Ground Truth: the job's files and exact request, and labels with their confidence back in rows. No call leaves the machine."""

import gzip
import json

import boto3
import pytest
from botocore.stub import Stubber

from llmops_preprocess import ground_truth
from llmops_preprocess.cli import main
from llmops_preprocess.ground_truth import Label, labels_of, output_uri, read_labels, read_rows, start_labeling, with_labels
from llmops_preprocess.labeling_config import LabelConfig
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for

ROWS = [{"id": "r1", "text": "The food was delicious", "metadata": {"page": "1"}}, {"id": "r2", "text": "Jane lives in Rome"}]
TEAM = "arn:aws:sagemaker:eu-west-1:111122223333:workteam/private-crowd/team"
ROLE = "arn:aws:iam::111122223333:role/labeling"


@pytest.fixture
def stub(monkeypatch, bucket):
    client = boto3.client("sagemaker", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    monkeypatch.setattr(ground_truth, "client", lambda region: client)
    with Stubber(client) as stub:
        yield stub
        stub.assert_no_pending_responses()


@pytest.fixture
def config(bucket):
    def make(**settings):
        rows = join(bucket, "rows.jsonl")
        store_for(rows).write(rows, "".join(json.dumps(row) + "\n" for row in ROWS).encode())
        given = {"name": "mood-1", "rows": rows, "out": join(bucket, "job"), "labels": ["good", "bad"], "region": "eu-west-1"}
        return LabelConfig.model_validate({**given, "workteam_arn": TEAM, "role_arn": ROLE, **settings})

    return make


def expected(out, function, ui, **output):
    lambdas = f"arn:aws:lambda:eu-west-1:568282634449:function:%s-{function}"
    return {
        "LabelingJobName": "mood-1",
        "LabelAttributeName": "label",
        "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": f"{out}/input.manifest"}}},
        "OutputConfig": {"S3OutputPath": f"{out}/output", **output},
        "RoleArn": ROLE,
        "LabelCategoryConfigS3Uri": f"{out}/labels.json",
        "HumanTaskConfig": {
            "WorkteamArn": TEAM,
            "UiConfig": ui,
            "PreHumanTaskLambdaArn": lambdas % "PRE",
            "TaskTitle": "Label texts: mood-1",
            "TaskDescription": "Read the text and choose the label that fits best.",
            "NumberOfHumanWorkersPerDataObject": 3,
            "TaskTimeLimitInSeconds": 3600,
            "AnnotationConsolidationConfig": {"AnnotationConsolidationLambdaArn": lambdas % "ACS"},
        },
    }


def test_classification_starts_with_manifest_labels_and_page(bucket, stub, config):
    out = join(bucket, "job")
    answer = {"LabelingJobArn": "arn:aws:sagemaker:eu-west-1:111122223333:labeling-job/mood-1"}
    stub.add_response("create_labeling_job", answer, expected(out, "TextMultiClass", {"UiTemplateS3Uri": f"{out}/page.liquid.html"}))

    start_labeling(config())

    read = store_for(out).read
    assert [json.loads(line) for line in read(f"{out}/input.manifest").splitlines()] == [
        {"source": "The food was delicious", "row-id": "r1"},
        {"source": "Jane lives in Rome", "row-id": "r2"},
    ]
    assert json.loads(read(f"{out}/labels.json"))["labels"] == [{"label": "good"}, {"label": "bad"}]
    assert b"crowd-classifier" in read(f"{out}/page.liquid.html")


def test_a_dry_run_prints_the_very_request_and_sends_nothing(bucket, stub, config, capsys):
    settings = config().model_dump(mode="json", exclude_none=True)

    code = main(["label", *(f"{key}={json.dumps(value)}" for key, value in settings.items()), "--dry-run"])

    wanted = expected(f"{bucket}/job", "TextMultiClass", {"UiTemplateS3Uri": f"{bucket}/job/page.liquid.html"})
    assert (code, json.loads(capsys.readouterr().out)["plan"]) == (0, {"CreateLabelingJob": wanted})


def test_entities_use_the_services_page_and_a_key_of_ours(bucket, stub, config):
    key = "arn:aws:kms:eu-west-1:111122223333:key/1"
    ui = {"HumanTaskUiArn": "arn:aws:sagemaker:eu-west-1:394669845002:human-task-ui/NamedEntityRecognition"}
    answer = {"LabelingJobArn": "arn:aws:sagemaker:eu-west-1:111122223333:labeling-job/mood-1"}
    stub.add_response("create_labeling_job", answer, expected(join(bucket, "job"), "NamedEntityRecognition", ui, KmsKeyId=key))

    start_labeling(config(task="entities", key_arn=key))


def test_a_name_that_is_taken_and_rows_that_are_none_are_told(bucket, stub, config):
    stub.add_client_error("create_labeling_job", "ResourceInUse")

    with pytest.raises(LlmopsError, match="name mood-1: a labeling job has it already; choose another"):
        start_labeling(config())
    store_for(bucket).write(join(bucket, "bad.jsonl"), b'{"id": 1}\n')
    with pytest.raises(LlmopsError, match=r"bad\.jsonl line 1: is no row"):
        start_labeling(config(rows=join(bucket, "bad.jsonl")))


def test_instructions_cannot_break_out_of_the_page():
    shown = ground_truth.page('"><script>{{ task.input }}')

    assert "<script>{{" not in shown
    assert "&quot;&gt;&lt;script&gt;&#123;&#123;" in shown


def classified(row_id, name, confidence):
    metadata = {"class-name": name, "confidence": confidence, "type": "groundtruth/text-classification", "human-annotated": "yes"}
    return {"source": "x", "row-id": row_id, "label": "1", "label-metadata": metadata}


def test_consolidated_labels_come_back_into_the_rows(bucket, config):
    entities = {
        "source": ROWS[1]["text"],
        "row-id": "r2",
        "label": {"annotations": {"entities": [{"startOffset": 0, "endOffset": 4, "label": "person"}], "labels": [{"label": "person"}]}},
        "label-metadata": {"entities": [{"confidence": 0.92}], "type": "groundtruth/text-span", "human-annotated": "yes"},
    }
    failed = {"source": "x", "row-id": "r1", "label-metadata": {"failure-reason": "no answer"}}
    place = output_uri(join(bucket, "job"), "mood-1")
    store_for(place).write(place, "".join(json.dumps(line) + "\n" for line in (classified("r1", "good", 0.8), entities, failed)).encode())

    labels = read_labels(place)

    assert labels == [Label("r1", "good", 0.8, True), Label("r2", "person", 0.92, True, 0, 4)]
    assert list(with_labels(read_rows(config().rows), labels)) == [
        {**ROWS[0], "metadata": {"page": "1", "label": "good", "label_confidence": "0.8", "label_by_people": "yes"}},
        {**ROWS[1], "metadata": {"entities": '[["person", 0, 4, 0.92]]'}},
    ]
    assert [row["id"] for row in with_labels(read_rows(config().rows), labels, 0.9)] == ["r2"]


def test_real_output_manifests_are_read(test_data):
    folder = test_data / "aws-groundtruth-manifests"
    lines = [json.loads(line)["json"] for line in (folder / "doc_manifest_lines.jsonl").read_text().splitlines()]
    mood = next(line for line in lines if "mood" in line)
    several = next(line for line in lines if "image-label-attribute-name" in line)

    assert list(labels_of(mood, "mood")) == [Label(None, "positive", 0.8, True)]
    assert [(label.name, label.confidence) for label in labels_of(several, "image-label-attribute-name")] == [
        ("bicycle", 0.95),
        ("person", 0.77),
        ("clothing", 0.2),
    ]
    boxes = [json.loads(line) for line in gzip.decompress((folder / "yolov5_sample_output.manifest.jsonl.gz").read_bytes()).splitlines()]
    with pytest.raises(KeyError):
        list(labels_of(boxes[0], "category"))
