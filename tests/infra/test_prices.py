"""What an environment costs: counted as it is synthesized, and read anew from the Pricing API."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.stub import Stubber

from llmops_infra import price_list, pricing
from llmops_infra.cli import main
from llmops_infra.config import load_environment
from llmops_infra.prices import NUM_KEYS, Estimate, endpoint_lines, estimate, monitoring_lines, network_lines, table
from llmops_shared.errors import LlmopsError
from llmops_shared.prices import price_list as shared_list
from llmops_shared.prices.price_list import PriceList, read_prices
from support.infrastructure import ENVIRONMENT_NAMES, EVERYTHING, endpoint_document, synthesize, synthesized, variant
from support.stacks import needs_node

PRICES, USE = read_prices("us-east-1"), price_list.read_use()


def test_the_parts_add_up_and_idle_is_without_work() -> None:
    environment = load_environment("dev")

    found = estimate(environment, None)

    assert found.total_usd == pytest.approx(sum(part.idle_usd + part.used_usd for part in found.parts), abs=0.05)
    assert found.idle_usd == pytest.approx(sum(part.idle_usd for part in found.parts), abs=0.05)
    network = next(part for part in found.parts if part.name == "network")
    assert network.idle_usd == pytest.approx(15 * 1 * 0.01 * 730, abs=0.01)
    assert "endpoint" not in [part.name for part in found.parts], "no document, no cost"


def test_an_endpoint_costs_its_instances_shadow_included() -> None:
    environment = load_environment("dev", ["serving.hosting.num_instances=2"])

    found = estimate(environment, endpoint_document(variant("base"), variant("tuned", shadow=True)))

    endpoint = next(part for part in found.parts if part.name == "endpoint")
    assert endpoint.idle_usd == pytest.approx(2 * 2 * 1.515 * 730 + 3 * 0.10 + 3, abs=0.01)
    assert "base: 2 x ml.g5.2xlarge" in endpoint.counted


@pytest.mark.parametrize("name", ENVIRONMENT_NAMES)
def test_what_is_counted_is_what_is_synthesized(name: str, tmp_path: Path) -> None:
    needs_node()
    endpoint = endpoint_document(variant("base"), variant("tuned", shadow=True))
    stacks = synthesize(name, tmp_path, endpoint)
    environment = load_environment(str(EVERYTHING) if name == "full" else name)
    platform, serving = (synthesized(stacks[stack])["resource"] for stack in ("platform", "serving"))

    assert len(platform["aws_kms_key"]) == NUM_KEYS
    zones = sum(len(one.get("subnet_ids", [])) for one in platform["aws_vpc_endpoint"].values())
    endpoints = next(iter(network_lines(environment, PRICES, USE)))
    assert endpoints.idle_usd == pytest.approx(zones * PRICES.hourly["vpc_endpoint"] * 730)
    for resources, line in (
        (platform, next(iter(monitoring_lines(environment, PRICES, USE)))),
        (serving, list(endpoint_lines(environment, endpoint, PRICES))[-1]),
    ):
        assert line.counted == f"{len(resources['aws_cloudwatch_metric_alarm'])} alarms, a dashboard"
        assert len(resources["aws_cloudwatch_dashboard"]) == 1


def test_the_table_says_whose_prices_they_are() -> None:
    said = table(estimate(load_environment("dev", ["region=eu-west-1"]), None))

    assert "prices of us-east-1 on 2025-11-01" in said and "may differ from eu-west-1's" in said
    assert "may differ" not in table(estimate(load_environment("dev", ["region=us-east-1"]), None))


def test_an_instance_without_a_price_is_refused() -> None:
    with pytest.raises(LlmopsError, match=r"no price of ml\.p6-b300\.48xlarge: run `llmops-infra prices ENV --refresh`"):
        estimate(load_environment("dev", ["training.instance_type=ml.p6-b300.48xlarge"]), None)


def test_the_command_prints_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "dev"]) == 0

    printed = capsys.readouterr()
    assert Estimate.model_validate_json(printed.out).environment == "dev"
    assert printed.err.startswith("dev: USD a month at prices of us-east-1")


def product(usage: str, usd: str, **attributes: str) -> str:
    """A product as the API lists it, with a free first tier."""
    free = {"beginRange": "0", "pricePerUnit": {"USD": "0.0000000000"}}
    paid = {"beginRange": "100", "pricePerUnit": {"USD": usd}}
    terms = {"OnDemand": {"term": {"priceDimensions": {"a": paid, "b": free}}}}
    return json.dumps({"product": {"attributes": {"usagetype": usage, **attributes}}, "terms": terms})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """The Pricing API, which answers exactly what is expected of it."""
    client = boto3.client("pricing", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    stubber = Stubber(client)
    made: list[Any] = []

    def make(*arguments: str, **named: str) -> Any:
        made.append((arguments, named))
        return client

    monkeypatch.setattr(boto3, "client", make)
    with stubber:
        yield stubber
    assert made == [(("pricing",), {"region_name": "us-east-1"})]
    stubber.assert_no_pending_responses()


def filters(*given: tuple[str, str, str]) -> list[dict[str, str]]:
    """Filters of a request."""
    return [{"Type": kind, "Field": field, "Value": value} for kind, field, value in given]


def expect(api: Stubber, region: str, listed: dict[str, str], instances: list[str]) -> None:
    """The requests of a refresh; `listed` has the price of a usage type, others are listed nowhere."""
    for service, usage in [*pricing.ITEMS.values(), *pricing.REQUESTS.values()]:
        asked = filters(("TERM_MATCH", "regionCode", region), ("CONTAINS", "usagetype", usage))
        found = [product(f"EU-{usage}", listed[usage]), product(f"EU-{usage}-Extra", "99")] if usage in listed else []
        api.add_response("get_products", {"PriceList": found}, {"ServiceCode": service, "FormatVersion": "aws_v1", "Filters": asked})
    asked = filters(
        ("TERM_MATCH", "regionCode", region), ("TERM_MATCH", "productFamily", "ML Instance"), ("TERM_MATCH", "component", "Hosting")
    )
    request = {"ServiceCode": "AmazonSageMaker", "FormatVersion": "aws_v1", "Filters": asked}
    api.add_response("get_products", {"PriceList": instances[:1], "NextToken": "more"}, request)
    api.add_response("get_products", {"PriceList": instances[1:]}, {**request, "NextToken": "more"})


def test_a_refresh_asks_for_each_item_and_keeps_what_is_not_listed(api: Stubber) -> None:
    instances = [
        product("EU-Host:ml.g5.2xlarge", "1.69", instanceName="ml.g5.2xlarge"),
        product("EU-Host:x", "7", instanceName="ml.new.xlarge"),
    ]
    expect(api, "eu-west-1", {"VpcEndpoint-Hours": "0.011", "Requests-Tier1": "0.0000055"}, instances)

    fresh = pricing.refresh(PRICES, "eu-west-1")

    assert (fresh.region, fresh.source) == ("eu-west-1", "AWS Pricing API")
    assert fresh.hourly["vpc_endpoint"] == 0.011
    assert fresh.used["s3_put_1000"] == 0.0055
    assert (fresh.instances["ml.g5.2xlarge"], fresh.instances["ml.new.xlarge"]) == (1.69, 7)
    assert fresh.hourly["nat_gateway"] == PRICES.hourly["nat_gateway"] and "hourly.nat_gateway" in fresh.older
    assert "hourly.vpc_endpoint" not in fresh.older


def test_the_command_writes_the_regions_file(
    api: Stubber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in shared_list.FOLDER.glob("*.yaml"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(shared_list, "FOLDER", tmp_path)
    expect(api, "eu-west-1", {"VpcEndpoint-Hours": "0.011"}, [])

    assert main(["prices", "dev", "--refresh"]) == 0

    written = PriceList.model_validate(yaml.safe_load((tmp_path / "eu-west-1.yaml").read_text()))
    assert written.hourly["vpc_endpoint"] == 0.011
    found = Estimate.model_validate_json(capsys.readouterr().out)
    assert (found.region, found.prices_region) == ("eu-west-1", "eu-west-1")
