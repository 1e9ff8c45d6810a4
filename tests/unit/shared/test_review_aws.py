import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from llmops_shared.contracts.exchange import Message
from llmops_shared.contracts.review import ReviewItem
from llmops_shared.errors import LlmopsError
from llmops_shared.review import a2i, groundtruth
from llmops_shared.review.a2i import HumanLoopQueue
from llmops_shared.review.groundtruth import SHOWN_TO, GroundTruthQueue, job_name
from llmops_shared.review.items import shown_order, side_by_side, single_label
from llmops_shared.review.location import QueueConfig, queue_for
from llmops_shared.review.sqlite import SqliteQueue
from llmops_shared.store import join, store_for

TEAM = "arn:aws:sagemaker:eu-west-1:123456789012:workteam/private-crowd/llmops-dev-reviewers"
ROLE = "arn:aws:iam::123456789012:role/llmops-dev-labeling"
FLOW = "arn:aws:sagemaker:eu-west-1:123456789012:flow-definition/llmops-dev-answers"
ASKED = [Message(role="user", content="What is a heap?")]
PAIR = side_by_side(ASKED, {"production": "A pile.", "shadow": "A tree in an array."}, "uncertainty", reference="A tree.")
SINGLE = single_label(ASKED, "production", "A pile.", "alarm")


def stubbed(monkeypatch: pytest.MonkeyPatch, module: Any, service: str) -> Stubber:
    client = boto3.client(service, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    monkeypatch.setattr(module, "client", lambda: client)
    return Stubber(client)


def worker(worker_id: str, content: dict[str, Any], second: int) -> dict[str, Any]:
    """As Ground Truth and A2I write it."""
    at = f"2026-11-24T10:00:{second:02d}.000Z"
    return {
        "acceptanceTime": at, "answerContent": content, "submissionTime": at, "timeSpentInSeconds": 7.5, "workerId": worker_id,
        "workerMetadata": {"identityData": {"identityProviderType": "Cognito"}},
    }  # fmt: skip


def test_a_batch_becomes_a_labeling_job_and_its_answers_come_back(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, job = f"{bucket}/review", job_name([PAIR, SINGLE])
    queue = queue_for(QueueConfig(uri=uri, workteam_arn=TEAM, role_arn=ROLE, answers_per_item=3))
    assert isinstance(queue, GroundTruthQueue)
    with stubbed(monkeypatch, groundtruth, "sagemaker") as stub:
        stub.add_response(
            "create_labeling_job",
            {"LabelingJobArn": f"arn:aws:sagemaker:eu-west-1:123456789012:labeling-job/{job}"},
            {
                "LabelingJobName": job,
                "LabelAttributeName": "review",
                "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": f"{uri}/{job}/input.manifest"}}},
                "OutputConfig": {"S3OutputPath": f"{uri}/{job}/output"},
                "RoleArn": ROLE,
                "HumanTaskConfig": {
                    "WorkteamArn": TEAM,
                    "UiConfig": {"UiTemplateS3Uri": f"{uri}/{job}/template.liquid.html"},
                    "TaskTitle": "Judge answers",
                    "TaskDescription": "Read the conversation and say which answer is better, or whether the answer is good",
                    "NumberOfHumanWorkersPerDataObject": 3,
                    "TaskTimeLimitInSeconds": 3600,
                },
            },
        )
        assert queue.requests([PAIR, SINGLE, PAIR]) == [{"CreateLabelingJob": queue.request(job)}]
        assert queue.add([PAIR, SINGLE, PAIR]) == 2
        assert queue.add([SINGLE]) == 0 and queue.requests([SINGLE]) == []  # in a job already: nothing is started
        stub.assert_no_pending_responses()
    assert queue.pending() == [PAIR, SINGLE] and queue.reviewed() == []

    store, answers = store_for(uri), join(uri, job, "output", job, "annotations/worker-response/iteration-1")
    store.write(f"{answers}/0/2026-11-24_10:00:05.json", json.dumps({"answers": [
        worker("private.eu-west-1.aaa", {"choice": {"label": "Second is better"}}, 5),
        worker("private.eu-west-1.bbb", {"choice": {"label": "Equally good"}}, 2),
    ]}).encode())  # fmt: skip

    found = queue.reviewed()
    second = shown_order(PAIR, SHOWN_TO)[1].name
    assert [(item, [(said.reviewer, said.label) for said in answers]) for item, answers in found] == [
        (PAIR, [("private.eu-west-1.bbb", "tie"), ("private.eu-west-1.aaa", second)])
    ]
    assert found[0].answers[1].time == datetime(2026, 11, 24, 10, 0, 5, tzinfo=UTC) and found[0].answers[1].duration_s == 7.5
    assert queue.pending() == [SINGLE] and queue.pending("private.eu-west-1.ccc") == [PAIR, SINGLE]


def test_the_manifest_is_blind_and_the_template_shows_every_key_of_it(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"{bucket}/review"
    queue = GroundTruthQueue(uri, TEAM, ROLE, 2, key_arn="arn:aws:kms:eu-west-1:123456789012:key/k")
    with stubbed(monkeypatch, groundtruth, "sagemaker") as stub:
        stub.add_client_error("create_labeling_job", "ResourceInUse", "it is there")  # an interrupted call had started it
        assert queue.add([PAIR]) == 1

    folder = join(uri, job_name([PAIR]))
    line = json.loads(store_for(uri).read(f"{folder}/input.manifest"))
    template = store_for(uri).read(f"{folder}/template.liquid.html").decode()
    assert "production" not in json.dumps(line) and "shadow" not in json.dumps(line)
    assert all(f"task.input.{key}" in template for key in line)
    assert queue.request("j")["OutputConfig"]["KmsKeyId"] == "arn:aws:kms:eu-west-1:123456789012:key/k"


def test_a_job_that_does_not_start_leaves_no_items_behind(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = GroundTruthQueue(f"{bucket}/review", TEAM, ROLE, 2)
    with stubbed(monkeypatch, groundtruth, "sagemaker") as stub:
        stub.add_client_error("create_labeling_job", "AccessDeniedException", "not yours")
        with pytest.raises(LlmopsError, match="Ground Truth does not start llmops-review-.*not yours"):
            queue.add([PAIR])
    assert queue.pending() == []


def test_an_answer_becomes_a_human_loop_and_its_judgement_comes_back(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"{bucket}/loops"
    queue = queue_for(QueueConfig(uri=uri, flow_definition_arn=FLOW))
    assert isinstance(queue, HumanLoopQueue)
    loop_arn = f"arn:aws:sagemaker:eu-west-1:123456789012:human-loop/{SINGLE.item_id}"
    described: dict[str, Any] = {
        "CreationTime": datetime(2026, 11, 24, tzinfo=UTC), "HumanLoopName": SINGLE.item_id, "HumanLoopArn": loop_arn, "FlowDefinitionArn": FLOW,
    }  # fmt: skip
    output = f"{uri}-output/llmops-dev-answers/2026/11/24/10/00/00/{SINGLE.item_id}/output.json"
    content = json.dumps({"prompt": "user: What is a heap?", "response": "A pile."})
    said = [worker("w1", {"judgement": {"label": "cannot tell"}}, 1), worker("w2", {"judgement": {"label": "bad"}}, 2)]
    store_for(output).write(
        output, json.dumps({"flowDefinitionArn": FLOW, "humanAnswers": said, "humanLoopName": SINGLE.item_id, "inputContent": {}}).encode()
    )
    with stubbed(monkeypatch, a2i, "sagemaker-a2i-runtime") as stub:
        stub.add_response(
            "start_human_loop",
            {"HumanLoopArn": loop_arn},
            {"HumanLoopName": SINGLE.item_id, "FlowDefinitionArn": FLOW, "HumanLoopInput": {"InputContent": content}},
        )
        asked = {"HumanLoopName": SINGLE.item_id}
        stub.add_response("describe_human_loop", {**described, "HumanLoopStatus": "InProgress"}, asked)
        done = {**described, "HumanLoopStatus": "Completed", "HumanLoopOutput": {"OutputS3Uri": output}}
        stub.add_response("describe_human_loop", done, asked)
        stub.add_response("describe_human_loop", {**described, "HumanLoopStatus": "Failed", "FailureReason": "no template"}, asked)

        assert queue.add([SINGLE]) == 1 and queue.add([SINGLE]) == 0
        assert queue.pending() == [SINGLE]
        assert [(item, [(answer.reviewer, answer.label) for answer in answers]) for item, answers in queue.reviewed()] == [
            (SINGLE, [("w2", "bad")])
        ]
        with pytest.raises(LlmopsError, match="failed: no template"):
            queue.reviewed()


def test_a_loop_asks_only_what_its_page_can(bucket: str) -> None:
    with pytest.raises(LlmopsError, match="asks whether one answer is good or bad, and item .* asks side_by_side"):
        HumanLoopQueue(f"{bucket}/loops", FLOW).add([PAIR])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"uri": "s3://b/review"}, "needs workteam_arn and role_arn"),
        ({"uri": "review.db", "flow_definition_arn": FLOW}, "only a queue at s3:// uses them"),
    ],
)
def test_settings_that_name_no_queue_are_refused(settings: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        QueueConfig.model_validate(settings)
    assert isinstance(queue_for(QueueConfig(uri="review.db")), SqliteQueue)


def test_an_item_is_itself_after_a_round_trip() -> None:
    assert ReviewItem.model_validate_json(PAIR.model_dump_json()) == PAIR
