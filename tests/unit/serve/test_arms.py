"""`llmops-serve arms`: an A/B test of prompts, retrieval and variants in the document, in what is served, and at promotion."""

import hashlib
import json

import httpx
import pytest

from llmops_monitor.arms import arms_of
from llmops_monitor.arms import split as split_by_arm
from llmops_serve.cli import main
from llmops_serve.emf import MetricsLog
from llmops_serve.metrics import Metrics
from llmops_serve.realize import indexes
from llmops_serve.retrieve import Retriever
from llmops_shared.contracts import Endpoint, Exchange, ModelPackage, Reference, Report
from llmops_shared.contracts.endpoint import Arm, PromptVersion, Retrieval
from llmops_shared.contracts.retrieval import RetrievalSettings
from llmops_shared.documents import follow, read_document, refer, write_document
from llmops_shared.retrieval.store import FoundChunk
from support.serving import ScriptedEngine, make_gateway, scripted, serving, settings
from support.upstreams import remote_variant, write_remote_endpoint

TEXT = "Be short."
PROMPT = {"uri": "prompts:/short/1", "sha256": hashlib.sha256(TEXT.encode()).hexdigest(), "text": TEXT}


@pytest.fixture
def split(tmp_path):
    """The folder of a document with two packages in production."""
    variants = [remote_variant(tmp_path, name, ["http://127.0.0.1:9"]) for name in ("production", "treatment")]
    write_remote_endpoint(tmp_path, variants)
    return tmp_path / "endpoint-1"


def arms(folder, *words, out="two"):
    return main(["arms", f"endpoint={folder}", f"out={folder.parent}/{out}", *words])


def read(folder, name="two"):
    return read_document(str(folder.parent / name), Endpoint)


def test_arms_are_written_as_the_next_generation_and_end_with_another(split):
    assert arms(split, "arms.control.variant=production", "arms.control.weight=3", "arms.other.variant=treatment") == 0

    endpoint = read(split)
    assert (endpoint.generation, endpoint.reason) == (2, "arms control, other")
    assert [(arm.name, arm.weight, arm.variant) for arm in endpoint.arms] == [("control", 3, "production"), ("other", 1, "treatment")]
    assert follow(endpoint.previous, str(split.parent / "two"), Endpoint)[1].generation == 1

    assert arms(split.parent / "two", "arms={}", out="three") == 0
    assert (read(split, "three").arms, read(split, "three").reason) == ([], "no arms any more")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["arms.a.variant=nobody"], "cannot have these arms"),
        (["arms.a.retrieval.num_chunks=3"], "endpoint chat has no index; give arms.a.index="),
        (["arms.a.prompt=prompts:/short"], "arms.a.prompt: String should match pattern"),
        (["arms.a.prompt=prompts:/short/1"], "needs MLflow; set tracking.uri or MLFLOW_TRACKING_URI"),
        (["arms.a.weight=-1"], "arms.a.weight: Input should be greater than or equal to 0"),
    ],
)
def test_arms_that_cannot_be_are_refused(split, words, message, capsys):
    assert arms(split, *words) == 2
    assert message in capsys.readouterr().err
    assert not (split.parent / "two" / "endpoint.json").exists()


@pytest.mark.slow
def test_a_registered_prompt_is_read_once_and_kept_with_its_digest(split, tmp_path, capsys):
    from mlflow import MlflowClient

    store = f"sqlite:///{tmp_path}/mlflow.db"
    MlflowClient(tracking_uri=store).register_prompt(name="short", template=TEXT)

    assert arms(split, f"tracking.uri={store}", "arms.plain.weight=1", "arms.short.prompt=prompts:/short/1") == 0

    kept = read(split).arms[1].prompt
    assert (kept.uri, kept.text, kept.sha256) == (PROMPT["uri"], TEXT, PROMPT["sha256"])
    assert arms(split, f"tracking.uri={store}", "arms.x.prompt=prompts:/short/7", out="three") == 2
    assert "prompts:/short/7: is not in" in capsys.readouterr().err


def with_arms(folder, found):
    """The same document with arms."""
    endpoint = read_document(str(folder), Endpoint)
    write_document(str(folder), endpoint.model_copy(update={"arms": [Arm.model_validate(one) for one in found]}))


def report_on(folder, control, treatment, kind="ab"):
    """A Report that says: promote."""
    place = f"{folder}/endpoint.json"
    document = read_document(place, Endpoint)
    subjects = {"endpoint": refer(place, Endpoint, f"{folder.parent}/report")}
    packages = {variant.name: follow(variant.package, str(folder), ModelPackage)[0] for variant in document.variants}
    for role, name in (("control", control), ("treatment", treatment)):
        subjects[role] = refer(packages[name], ModelPackage, f"{folder.parent}/report")
    report = {"report": kind, "name": kind, "subjects": subjects, "measurements": [], "verdict": "promote", "reasons": ["better."]}
    write_document(f"{folder.parent}/report", Report.model_validate({**report, "parts": {}, "mlflow_run_id": None}))


def promote(folder):
    return main(["promote", f"endpoint={folder}", f"report={folder.parent}/report", f"out={folder.parent}/three"])


@pytest.mark.parametrize("prompt", [None, PROMPT])
def test_the_arm_that_won_goes_live_with_its_package_and_its_prompt(split, prompt):
    with_arms(split, [{"name": "a", "variant": "production"}, {"name": "b", "variant": "treatment", "weight": 0.2, "prompt": prompt}])
    report_on(split, "production", "treatment")

    assert promote(split) == 0

    endpoint = read(split, "three")
    (live,) = endpoint.variants
    assert (live.name, live.weight, follow(live.package, f"{split.parent}/three", ModelPackage)[1].name) == (
        "production",
        1,
        "package-treatment",
    )
    expected = [] if prompt is None else [("b", 1, None, TEXT)]
    assert [(arm.name, arm.weight, arm.variant, arm.prompt.text) for arm in endpoint.arms] == expected


@pytest.mark.parametrize(
    "found",
    [
        [{"name": "a"}, {"name": "b", "prompt": PROMPT}],
        [{"name": "a", "variant": "production"}, {"name": "b", "variant": "production", "prompt": PROMPT}],
    ],
)
def test_arms_of_one_package_are_not_told_apart_by_a_report_and_none_is_promoted(split, found, capsys):
    with_arms(split, found)
    report_on(split, "production", "production")

    assert promote(split) == 2

    assert "tells arms by their packages, and those of" in capsys.readouterr().err
    assert not (split.parent / "three" / "endpoint.json").exists()


class OneIndex:
    """Gives as many chunks as are asked for."""

    def search(self, question, num_chunks, search, filters, num_candidates):
        chunks = [FoundChunk(f"c{number}", "d", f"text {number}", 1.0, "source", "title", {}) for number in range(num_chunks)]
        return type("Found", (), {"chunks": chunks, "embedding_ms": 1.0, "search_ms": 1.0})()

    def close(self): ...


def test_each_arm_searches_in_its_own_way(tmp_path):
    few, many = (Retriever(OneIndex(), "i" * 64, RetrievalSettings(num_chunks=number), None) for number in (1, 3))
    gateway = make_gateway(
        tmp_path, {"production": ScriptedEngine()}, capture_uri=str(tmp_path / "log"), context=512,
        retriever={None: few, "few": few, "many": many}, arms=[Arm(name="few"), Arm(name="many")],
    )  # fmt: skip
    config = settings()
    with serving(lambda: scripted(gateway, config), config) as url, httpx.Client(base_url=url, timeout=20) as http:
        for number in range(20):
            body = {"messages": [{"role": "user", "content": "What?"}], "max_tokens": 4, "retrieval": True, "user": f"u{number}"}
            assert http.post("/v1/chat/completions", json=body).status_code == 200

    lines = [line for file in (tmp_path / "log").rglob("*.jsonl") for line in file.read_text().splitlines()]
    log = [Exchange.model_validate_json(line) for line in lines]
    assert {(one.arm, len(one.retrieval.chunks)) for one in log} == {("few", 1), ("many", 3)}
    sides = arms_of(gateway.endpoint, "endpoint.json", "few", "many")  # as the monitor tells them apart
    told = split_by_arm(log, *sides, None)
    assert {one.arm for side in told.control.values() for one in side} == {"few"}
    assert {one.arm for side in told.treatment.values() for one in side} == {"many"}
    assert len(told.control) + len(told.treatment) == 20 and not told.remarks


def test_an_arm_opens_an_index_only_for_what_it_has_of_its_own(tmp_path):
    index = Reference(uri="index.json", sha256="a" * 64)
    own = Retrieval(index=Reference(uri="other.json", sha256="b" * 64), num_chunks=2)
    text = "Say {{context}} of {{question}}"
    framed = PromptVersion(uri="prompts:/framed/1", sha256=hashlib.sha256(text.encode()).hexdigest(), text=text)
    found = [Arm(name="same"), Arm(name="own", retrieval=own), Arm(name="framed", prompt=framed)]
    place = write_remote_endpoint(
        tmp_path, [remote_variant(tmp_path, "production", ["http://127.0.0.1:9"])], retrieval=Retrieval(index=index), arms=found
    )

    opened = indexes(read_document(str(place), Endpoint))

    assert set(opened) == {None, "own", "framed"}
    assert (opened["own"].index.uri, opened["own"].num_chunks) == ("other.json", 2)
    assert (opened["framed"].index, opened["framed"].template) == (index, "Say {context} of {question}")


def test_figures_are_lines_of_cloudwatchs_embedded_metric_format(tmp_path):
    metrics = Metrics()
    log = MetricsLog(str(tmp_path / "metrics.log"), "chat", metrics)
    metrics.count("tgi_request_count")
    metrics.answered(True, 0.25, 7, 0.05)
    metrics.count("llmops_refused", error="rate")
    log.write()
    log.write()

    first, second = (json.loads(line) for line in (tmp_path / "metrics.log").read_text().splitlines())
    assert (first["Endpoint"], first["Requests"], first["Refused"], first["Failures"]) == ("chat", 1, 1, 0)
    assert (first["Latency"], first["FirstToken"], first["Tokens"]) == ([250.0], [50.0], [7])
    (directive,) = first["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("LLMOps/Serve", [["Endpoint"]])
    named = {one["Name"]: one["Unit"] for one in directive["Metrics"]}
    assert named.keys() <= first.keys() and named["Latency"] == "Milliseconds"
    assert second["Requests"] == 0 and "Latency" not in second
