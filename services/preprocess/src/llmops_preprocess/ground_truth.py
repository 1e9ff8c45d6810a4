"""SageMaker Ground Truth: rows out to people as a labeling job, consolidated labels with confidence back into rows.

Ground Truth is closed to new customers; who uses it already goes on.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmops_preprocess.labeling_config import LabelConfig, Task
from llmops_shared.aws_errors import refused
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for

logger = logging.getLogger(__name__)

ATTRIBUTE = "label"
ROW_ID = "row-id"
"""Key of a row's id in the manifest: Ground Truth copies keys it does not know from input to output."""
ACCOUNTS = {
    "us-east-1": "432418664414", "us-east-2": "266458841044", "us-west-2": "081040173940", "ca-central-1": "918755190332",
    "eu-west-1": "568282634449", "eu-west-2": "487402164563", "eu-central-1": "203001061592", "ap-northeast-1": "477331159723",
    "ap-northeast-2": "845288260483", "ap-south-1": "565803892007", "ap-southeast-1": "377565633583",
    "ap-southeast-2": "454466003867",
}  # fmt: skip
"""Accounts of Ground Truth's own Lambda functions (API reference, HumanTaskConfig$PreHumanTaskLambdaArn)."""
FUNCTIONS: dict[Task, str] = {"classification": "TextMultiClass", "entities": "NamedEntityRecognition"}
UI_ACCOUNT = "394669845002"
"""Account of the page for entities (API reference, UiConfig$HumanTaskUiArn)."""
PAGE = """<script src="https://assets.crowd.aws/crowd-html-elements.js"></script>
<crowd-form>
  <crowd-classifier name="crowd-classifier" categories="{{ task.input.labels | to_json | escape }}" header="%s">
    <classification-target>{{ task.input.taskObject }}</classification-target>
    <full-instructions header="Instructions">%s</full-instructions>
  </crowd-classifier>
</crowd-form>
"""
TASK_TIME_LIMIT_S = 3600


@dataclass(frozen=True, slots=True)
class Label:
    """What people together say about a row; offsets are None of a label for all of it."""

    row_id: str | None
    """The row; None where the manifest was written by others."""
    name: str
    """The label."""
    confidence: float
    """Of the consolidation, 0 to 1."""
    by_people: bool
    """False: Ground Truth's own model labelled it."""
    begin: int | None = None
    """First character."""
    end: int | None = None
    """First character after it."""


def start_labeling(config: LabelConfig) -> None:
    """Writes manifest, labels and page, and starts the job; a job of that name is left as it is."""
    from botocore.exceptions import BotoCoreError, ClientError

    write_inputs(config)
    try:
        client(config.region).create_labeling_job(**request(config))
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUse":
            raise refused(f"Ground Truth does not start {config.name}", error) from error
        raise LlmopsError(f"name {config.name}: a labeling job has it already; choose another") from error
    except BotoCoreError as error:
        raise refused(f"Ground Truth does not start {config.name}", error) from error
    logger.info("started the labeling job %s; its answers come to %s", config.name, output_uri(config.out, config.name))


def write_inputs(config: LabelConfig) -> None:
    """The files a job reads, below `out`."""
    lines = "".join(json.dumps(manifest_line(row)) + "\n" for row in read_rows(config.rows))
    if not lines:
        raise LlmopsError(f"rows {config.rows}: holds no rows")
    labels = {"document-version": "2018-11-28", "labels": [{"label": name} for name in config.labels]}
    files = {"input.manifest": lines, "labels.json": json.dumps(labels), "page.liquid.html": page(config.instructions)}
    for name, content in files.items():
        place = join(config.out, name)
        store_for(place).write(place, content.encode())


def page(instructions: str) -> str:
    """The page for classification, the instructions safe in it."""
    import html

    # braces would be read as Liquid
    safe = html.escape(instructions).replace("{", "&#123;").replace("}", "&#125;")
    return PAGE % (safe, safe)


def read_rows(uri: str) -> Iterator[dict[str, str]]:
    """Rows with id and text. Raises LlmopsError for a line that is none."""
    for number, line in enumerate(store_for(uri).read(uri).splitlines(), start=1):
        try:
            row = json.loads(line)
            if not (isinstance(row["id"], str) and isinstance(row["text"], str)):
                raise TypeError
        except (ValueError, KeyError, TypeError) as error:
            raise LlmopsError(f"{uri} line {number}: is no row with a text `id` and a text `text`") from error
        yield row


def manifest_line(row: Mapping[str, str]) -> dict[str, str]:
    """A row as Ground Truth reads it."""
    return {"source": row["text"], ROW_ID: row["id"]}


def request(config: LabelConfig) -> dict[str, Any]:
    """The parameters of CreateLabelingJob."""
    function, account, region = FUNCTIONS[config.task], ACCOUNTS[config.region], config.region
    ui = (
        {"UiTemplateS3Uri": join(config.out, "page.liquid.html")}
        if config.task == "classification"
        else {"HumanTaskUiArn": f"arn:aws:sagemaker:{region}:{UI_ACCOUNT}:human-task-ui/{function}"}
    )
    key = {} if config.key_arn is None else {"KmsKeyId": config.key_arn}
    return {
        "LabelingJobName": config.name,
        "LabelAttributeName": ATTRIBUTE,
        "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": join(config.out, "input.manifest")}}},
        "OutputConfig": {"S3OutputPath": join(config.out, "output")} | key,
        "RoleArn": config.role_arn,
        "LabelCategoryConfigS3Uri": join(config.out, "labels.json"),
        "HumanTaskConfig": {
            "WorkteamArn": config.workteam_arn,
            "UiConfig": ui,
            "PreHumanTaskLambdaArn": f"arn:aws:lambda:{region}:{account}:function:PRE-{function}",
            "TaskTitle": f"Label texts: {config.name}"[:128],
            "TaskDescription": config.instructions,
            "NumberOfHumanWorkersPerDataObject": config.answers_per_row,
            "TaskTimeLimitInSeconds": TASK_TIME_LIMIT_S,
            "AnnotationConsolidationConfig": {
                "AnnotationConsolidationLambdaArn": f"arn:aws:lambda:{region}:{account}:function:ACS-{function}"
            },
        },
    }


def output_uri(out: str, name: str) -> str:
    """Where the job leaves the consolidated labels."""
    return join(out, "output", name, "manifests", "output", "output.manifest")


def read_labels(uri: str, attribute: str = ATTRIBUTE) -> list[Label]:
    """The labels in an output manifest. Raises LlmopsError for a line that is broken."""
    found: list[Label] = []
    for number, line in enumerate(store_for(uri).read(uri).splitlines(), start=1):
        try:
            found += labels_of(json.loads(line), attribute)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LlmopsError(f"{uri} line {number}: is no line of an output manifest with labels under {attribute!r}") from error
    return found


def labels_of(line: Mapping[str, Any], attribute: str) -> Iterator[Label]:
    """The labels of one line: of classification, of several labels a text, and of entities; none where people failed."""
    metadata = line[f"{attribute}-metadata"]
    if "failure-reason" in metadata:
        return
    row_id, value, by_people = line.get(ROW_ID), line[attribute], metadata["human-annotated"] == "yes"
    if metadata["type"] == "groundtruth/text-span":
        entities = value["annotations"]["entities"]
        for item, sure in zip(entities, metadata["entities"], strict=True):
            yield Label(row_id, item["label"], sure["confidence"], by_people, item["startOffset"], item["endOffset"])
    elif "class-map" in metadata and "confidence-map" in metadata:
        for number in value:
            yield Label(row_id, metadata["class-map"][str(number)], metadata["confidence-map"][str(number)], by_people)
    else:
        yield Label(row_id, metadata["class-name"], metadata["confidence"], by_people)


def with_labels(rows: Iterable[Mapping[str, Any]], labels: Iterable[Label], min_confidence: float = 0.0) -> Iterator[dict[str, Any]]:
    """The rows that have labels sure enough, these in their metadata: `label` and `label_confidence`, or `entities` as JSON."""
    of_row: dict[str, list[Label]] = {}
    for label in labels:
        if label.row_id is not None and label.confidence >= min_confidence:
            of_row.setdefault(label.row_id, []).append(label)
    for row in rows:
        given = of_row.get(row["id"], [])
        if given:
            yield {**row, "metadata": {**row.get("metadata", {}), **described(given)}}


def described(labels: list[Label]) -> dict[str, str]:
    """Labels of one row as metadata."""
    spans = [label for label in labels if label.begin is not None]
    if spans:
        return {"entities": json.dumps([[item.name, item.begin, item.end, item.confidence] for item in spans])}
    best = max(labels, key=lambda label: label.confidence)
    people = "yes" if best.by_people else "no"
    return {"label": best.name, "label_confidence": f"{best.confidence:g}", "label_by_people": people}


def client(region: str) -> Any:
    """The service's client."""
    import boto3

    return boto3.client("sagemaker", region_name=region)
