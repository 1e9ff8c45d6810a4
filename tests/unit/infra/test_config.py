"""Settings that cannot work are refused before anything is synthesized, with a message that says what would be right."""

from pathlib import Path

import pytest

from llmops_infra.cli import main
from llmops_infra.config import ENVIRONMENTS, load_environment
from llmops_infra.endpoint_document import package_folder, read_endpoint
from llmops_infra.synth import synth
from llmops_shared.errors import LlmopsError
from support.infrastructure import endpoint_document, variant

REFUSED = {
    "unknown region": (["region=eu-west-9"], "did you mean eu-west-3"),
    "no region at all": (["region=mars"], "known: af-south-1"),
    "cidr too small for the zones": (
        ["network.cidr=10.0.0.0/22", "network.num_zones=3"],
        "too small for 3 zones of at least a /24 each: use a /21 or larger, for example 10.0.0.0/21",
    ),
    "cidr larger than a VPC": (["network.cidr=10.0.0.0/8"], "use a /16, for example 10.0.0.0/16"),
    "cidr of the internet": (["network.cidr=8.8.0.0/16"], "use a block of 10.0.0.0/8"),
    "cidr with host bits": (["network.cidr=10.0.0.1/16"], "is no network"),
    "fsx between two steps": (["storage.fsx.size_gib=3000"], "size_gib 3000 is no legal step: use 2400 or 4800"),
    "fsx below the first step of 2400": (["storage.fsx.size_gib=1300"], "use 1200 or 2400"),
    "fsx with EFA between two steps": (
        ["training.instance_type=ml.p5.48xlarge", "storage.fsx.efa=true", "storage.fsx.throughput=500", "storage.fsx.size_gib=12000"],
        "size_gib 12000 is no legal step with EFA at 500 MB/s/TiB: use 9600 or 19200",
    ),
    "fsx with EFA below its first step": (
        ["training.instance_type=ml.p5.48xlarge", "storage.fsx.efa=true", "storage.fsx.throughput=250"],
        "use 19200",
    ),
    "fsx throughput that is not sold": (["storage.fsx.throughput=100"], "Input should be 125, 250, 500 or 1000"),
    "EFA with a type that has none": (["training.efa=true"], "ml.g5.2xlarge has no EFA; set it false or use one of ml.g4dn.8xlarge"),
    "EFA to the file system from a card too old": (
        ["training.instance_type=ml.p4d.24xlarge", "storage.fsx.efa=true", "storage.fsx.size_gib=38400"],
        "ml.p4d.24xlarge cannot reach the file system over EFA",
    ),
    "warm pool of spot instances": (["training.warm_pool_s=600"], "SageMaker keeps no spot instances; set spot: false"),
    "less wait than run": (["training.max_wait_s=3600"], "must be at least max_runtime_s 86400"),
    "a schedule without a pipeline": (
        ["pipeline.recipes=null", "pipeline.schedule=rate(1 day)"],
        "describe its stages in pipeline.recipes",
    ),
    "a schedule of no image": (["monitoring.schedule=rate(1 day)", "monitoring.arguments=[drift]"], "monitoring.image_tag"),
    "a schedule without work": (["monitoring.schedule=rate(1 day)"], "has nothing to run"),
    "Aurora in one zone": (["retrieval.pgvector.max_capacity=2", "network.num_zones=1"], "set network.num_zones: 2"),
    "Aurora with no room": (["retrieval.pgvector.max_capacity=1", "retrieval.pgvector.min_capacity=2"], "must be at least min_capacity"),
    "reviews without people": (["people.a2i=true"], "set workforce: true"),
    "a secret for a container": (["serving.hosting.environment={HF_TOKEN: x}"], "HF_TOKEN would stand in Terraform's state"),
    "a night without a morning": (["serving.autoscaling.night=cron(0 20 * * ? *)"], "come as a pair"),
    "a scale upside down": (
        ["serving.autoscaling.max_instances=1", "serving.autoscaling.min_instances=2"],
        "must be at least min_instances",
    ),
    "more instances than the scale": (["serving.hosting.num_instances=5"], "hosting.num_instances 5 is outside autoscaling's 1 to 4"),
    "linear steps too small": (["serving.deployment.shift=linear", "serving.deployment.step_percent=5"], "SageMaker takes 10 to 50"),
    "a deployment too long": (["serving.deployment.shift=linear", "serving.deployment.wait_s=3600"], "shorten wait_s"),
    "a name that buckets cannot have": (["name=Dev_1"], "name"),
    "an unknown key": (["netwrok.nat=true"], "did you mean network?"),
    "a service without a private endpoint": (["network.private_services=[s3express]"], "Input should be 'sagemaker.api'"),
}


@pytest.mark.parametrize("words, message", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_work_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(LlmopsError) as refused:
        load_environment("dev", words)

    assert message in str(refused.value)


def test_every_bad_field_is_named_at_once() -> None:
    with pytest.raises(LlmopsError) as refused:
        load_environment("dev", ["region=mars", "storage.fsx.size_gib=3000", "training.warm_pool_s=600", "max_monthly_usd=0"])

    assert all(field in str(refused.value) for field in ("region", "storage.fsx", "training", "max_monthly_usd"))


@pytest.mark.parametrize("path", sorted(ENVIRONMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_environments_open_with_their_command_and_bear_their_file_name(path: Path) -> None:
    environment = load_environment(path.stem)

    assert path.read_text().startswith(f"# llmops-infra synth {path.stem}\n")
    assert environment.name == path.stem


def test_an_unknown_environment_names_the_known_ones() -> None:
    with pytest.raises(LlmopsError, match="there are dev, prod, staging"):
        load_environment("production")


def test_efa_follows_the_instance_type_and_the_number_of_instances() -> None:
    assert not load_environment("dev", ["training.instance_type=ml.p5.48xlarge"]).training_efa
    assert load_environment("dev", ["training.instance_type=ml.p5.48xlarge", "training.num_instances=2"]).training_efa
    assert not load_environment("dev", ["training.num_instances=2"]).training_efa


def test_the_file_system_has_efa_where_type_and_size_allow_it() -> None:
    large = ["storage.fsx.size_gib=4800", "storage.fsx.throughput=1000"]

    assert load_environment("dev", [*large, "training.instance_type=ml.p5.48xlarge"]).fsx_efa
    assert not load_environment("dev", [*large, "training.instance_type=ml.p4d.24xlarge"]).fsx_efa
    assert not load_environment("dev", ["storage.fsx.size_gib=2400", "training.instance_type=ml.p5.48xlarge"]).fsx_efa
    assert not load_environment("dev", [*large, "training.instance_type=ml.p5.48xlarge", "storage.fsx.efa=false"]).fsx_efa
    assert not load_environment("dev").fsx_efa


def test_a_shadow_beside_two_production_variants_is_refused(tmp_path: Path) -> None:
    document = endpoint_document(variant("one"), variant("two")).model_dump(mode="json")
    document["variants"].append(variant("three", shadow=True).model_dump(mode="json"))
    write(tmp_path, document)

    with pytest.raises(LlmopsError, match="a shadow variant needs exactly one production variant beside it"):
        read_endpoint(load_environment("dev", [f"serving.endpoint={tmp_path}"]))


def test_packages_have_to_be_in_s3(tmp_path: Path) -> None:
    local = variant("one").model_dump(mode="json") | {"package": {"uri": "../package-base/package.json", "sha256": "0" * 64}}
    document = endpoint_document(variant("one")).model_dump(mode="json") | {"variants": [local]}
    write(tmp_path, document)

    with pytest.raises(LlmopsError, match="variant one: package ../package-base/package.json is not in S3; write it with out=s3://"):
        read_endpoint(load_environment("dev", [f"serving.endpoint={tmp_path}"]))


def test_relative_packages_are_found_beside_the_document(tmp_path: Path) -> None:
    local = variant("one").model_dump(mode="json") | {"package": {"uri": "../../packages/base/package.json", "sha256": "0" * 64}}
    write(tmp_path, endpoint_document(variant("one")).model_dump(mode="json") | {"variants": [local]})
    environment = load_environment(
        "dev", [f"serving.endpoint={tmp_path}", "serving.endpoint_uri=s3://models/endpoints/assistant-1/endpoint.json"]
    )

    endpoint = read_endpoint(environment)

    assert endpoint is not None
    assert package_folder(environment, endpoint.variants[0]) == "s3://models/packages/base"


def test_hosting_of_a_variant_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write(tmp_path, endpoint_document(variant("one")).model_dump(mode="json"))

    with pytest.raises(LlmopsError, match=r"serving.variants.two: the document has no such variant \(it has one\)"):
        read_endpoint(load_environment("dev", [f"serving.endpoint={tmp_path}", "serving.variants.two.num_instances=1"]))


def test_an_empty_document_asks_for_no_endpoint(tmp_path: Path) -> None:
    (tmp_path / "endpoint.json").write_text("")

    assert read_endpoint(load_environment("dev", [f"serving.endpoint={tmp_path}"])) is None


def test_more_than_the_month_may_cost_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(LlmopsError, match=r"a month would cost \d+ USD .*max_monthly_usd is 10: raise it to \d+ or switch something off"):
        synth(load_environment("dev", ["max_monthly_usd=10"]), tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_refusal_is_one_message_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", "dev", "region=eu-west-9"]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("llmops-infra synth: ")
    assert "Traceback" not in printed.err


def test_dry_run_prints_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", "dev", "--dry-run", "network.nat=true"]) == 0

    assert '"nat": true' in capsys.readouterr().out


def write(folder: Path, document: object) -> None:
    import json

    (folder / "endpoint.json").write_text(json.dumps(document))
