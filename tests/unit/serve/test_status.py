"""`llmops-serve status` and `render`: what runs against the document, what a container gets."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmops_serve.cli import main
from llmops_shared.contracts import Endpoint
from llmops_shared.documents import read_document, write_document
from llmops_shared.hosting.container import IMAGES, container_of

PACKAGE = "s3://llmops-models/packages/first"


@pytest.fixture
def document(packages, tmp_path):
    """The folder of an Endpoint that SageMaker serves by TGI: 3 to 1 over two variants."""
    assert main(["deploy", "name=assistant", f"package={packages}/first", "engine=tgi", f"out={tmp_path}/one"]) == 0
    assert main(["split", f"endpoint={tmp_path}/one", f"package={packages}/second", "share=0.25", f"out={tmp_path}/two"]) == 0
    endpoint = read_document(f"{tmp_path}/two", Endpoint)
    variants = [
        one.model_copy(update={"package": one.package.model_copy(update={"uri": f"{PACKAGE}/package.json"})}) for one in endpoint.variants
    ]
    write_document(f"{tmp_path}/served", endpoint.model_copy(update={"variants": variants}))
    return tmp_path / "served"


def answers(document):
    """What SageMaker's describe calls answer when it runs exactly the document."""
    endpoint = read_document(str(document), Endpoint)
    configured, running, models = [], [], {}
    for variant in endpoint.production():
        common = {"VariantName": variant.name, "ModelName": f"model-{variant.name}"}
        configured.append({**common, "InstanceType": "ml.g5.2xlarge", "InitialInstanceCount": 1, "InitialVariantWeight": variant.weight})
        running.append({"VariantName": variant.name, "CurrentWeight": variant.weight * 4})
        source = {"S3DataSource": {"S3Uri": f"{PACKAGE}/", "S3DataType": "S3Prefix", "CompressionType": "None"}}
        environment = container_of(variant, "tgi", "ml.g5.2xlarge", 900).environment
        container = {"Image": f"registry.example/{IMAGES['tgi']}", "ModelDataSource": source, "Environment": environment}
        models[f"model-{variant.name}"] = {"ModelName": f"model-{variant.name}", "PrimaryContainer": container}
    described = {
        "EndpointName": "assistant",
        "EndpointConfigName": "config-2",
        "EndpointStatus": "InService",
        "ProductionVariants": running,
    }
    return {"DescribeEndpoint": described, "DescribeEndpointConfig": {"ProductionVariants": configured}, "DescribeModel": models}


@contextlib.contextmanager
def sagemaker(told, monkeypatch):
    """SageMaker's control plane on 127.0.0.1; `told` maps a call to its answer, or (status, error)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            call = self.headers["x-amz-target"].removeprefix("SageMaker.")
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = told[call]
            if call == "DescribeModel":
                answer = answer[asked["ModelName"]]
            status, body = answer if isinstance(answer, tuple) else (200, answer)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/x-amz-json-1.1")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL_SAGEMAKER": f"http://127.0.0.1:{server.server_port}",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def status(document, told, monkeypatch, capsys):
    """(exit code, the report's reasons)."""
    capsys.readouterr()
    with sagemaker(told, monkeypatch):
        code = main(["status", str(document)])
    return code, json.loads(capsys.readouterr().out)["reasons"]


def test_an_endpoint_that_runs_its_document_passes(document, monkeypatch, capsys):
    code, reasons = status(document, answers(document), monkeypatch, capsys)

    words = "runs generation 2 of assistant: production (weight 0.75, tgi), treatment (weight 0.25, tgi)."
    assert (code, reasons) == (0, [f"SageMaker endpoint assistant {words}"])


def test_every_difference_is_told_and_exits_with_3(document, monkeypatch, capsys):
    told = answers(document)
    told["DescribeEndpoint"] |= {"EndpointStatus": "Failed", "FailureReason": "no capacity"}
    told["DescribeEndpoint"]["ProductionVariants"][0]["CurrentWeight"] = 1.0
    told["DescribeEndpointConfig"]["ShadowProductionVariants"] = [{"VariantName": "ghost", "ModelName": "x"}]
    container = told["DescribeModel"]["model-production"]["PrimaryContainer"]
    container["Environment"] = {**container["Environment"], "MAX_TOTAL_TOKENS": "17"}
    container["ModelDataSource"]["S3DataSource"]["S3Uri"] = "s3://llmops-models/packages/old/"
    told["DescribeModel"]["model-treatment"]["PrimaryContainer"]["Image"] = "registry.example/tgi:old"

    code, reasons = status(document, told, monkeypatch, capsys)

    assert code == 3
    assert sorted(reasons) == sorted(
        [
            "the endpoint is Failed, not InService: no capacity.",
            "shadow variant ghost is there, and the document has none.",
            f"variant production serves the package s3://llmops-models/packages/old, the document has {PACKAGE}.",
            "variant production has MAX_TOTAL_TOKENS=17, the document asks for 256.",
            "variant treatment runs the image registry.example/tgi:old, the document's engine is tgi.",
            "variant production gets 50.0% of the traffic, the document asks for 75.0%.",
            "variant treatment gets 50.0% of the traffic, the document asks for 25.0%.",
        ]
    )


def test_a_variant_that_is_missing_is_told(document, monkeypatch, capsys):
    told = answers(document)
    told["DescribeEndpointConfig"]["ProductionVariants"].pop()
    told["DescribeEndpoint"]["ProductionVariants"].pop()

    assert status(document, told, monkeypatch, capsys) == (3, ["production variant treatment is not there."])


def test_an_endpoint_that_is_not_there_is_told_and_a_refusal_is_an_error(document, monkeypatch, capsys):
    missing = {"__type": "ValidationException", "message": 'Could not find endpoint "assistant".'}
    told = {"DescribeEndpoint": (400, missing)}
    assert status(document, told, monkeypatch, capsys) == (3, ["SageMaker has no endpoint assistant; apply the serving stack."])

    with sagemaker({"DescribeEndpoint": (400, {"__type": "AccessDeniedException", "message": "no"})}, monkeypatch):
        assert main(["status", str(document)]) == 2
    assert "endpoint assistant: AccessDeniedException: no; correct the role's permissions" in capsys.readouterr().err


def test_a_dry_run_tells_the_calls_and_makes_none(document, capsys):
    capsys.readouterr()

    assert main(["status", str(document), "--dry-run"]) == 0

    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["calls"][0] == "DescribeEndpoint assistant"


def test_a_server_of_ours_says_what_it_runs(url, endpoint, packages, capsys):
    capsys.readouterr()
    assert main(["status", str(endpoint), f"url={url}"]) == 0
    assert main(["status", str(packages / "endpoint-1"), f"url={url}"]) == 3

    assert "runs another document (sha256 " in capsys.readouterr().out
    assert main(["status", str(endpoint), "url=http://127.0.0.1:9"]) == 2


@pytest.mark.parametrize("words", [["--engine", "vllm"], ["--engine=vllm"], ["engine=vllm"]])
def test_render_shows_what_the_container_gets(document, words, capsys):
    capsys.readouterr()

    assert main(["render", str(document), *words, "variant=production"]) == 0

    shown = json.loads(capsys.readouterr().out)
    variant = read_document(str(document), Endpoint).variants[0]
    container = container_of(variant, "vllm", "ml.g5.2xlarge", 900)
    assert shown == {"production": {"image": container.image, "environment": container.environment}}


def test_render_writes_files_that_containers_read(document, capsys):
    capsys.readouterr()
    assert main(["render", str(document), "variant=production", "form=environment"]) == 0
    assert "MAX_TOTAL_TOKENS=256\n" in capsys.readouterr().out
    assert main(["render", str(document), "--engine", "lmi-vllm", "variant=production", "form=properties"]) == 0
    assert capsys.readouterr().out.startswith("engine=Python\noption.model_id=/opt/ml/model/model\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["variant=nobody"], "has no such variant (it has production, treatment)"),
        (["form=environment"], "shows one container; choose a variant= of production, treatment"),
        (["variant=production", "form=properties"], "only DJL's LMI reads serving.properties"),
        (["instance_type=ml.m5.large"], "has no GPU that we know"),
        (["engine=in-process"], "in-process runs in the laptop's server"),
    ],
)
def test_what_cannot_be_rendered_is_refused(document, words, message, capsys):
    assert main(["render", str(document), *words]) == 2
    assert message in capsys.readouterr().err
