"""What an environment costs a month, part by part: idle, and with a month of ordinary work."""

from collections.abc import Iterator
from typing import NamedTuple

from llmops_infra.config import Environment
from llmops_infra.price_list import Use, read_use
from llmops_infra.private_services import services_of
from llmops_shared.config import Config
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.prices.price_list import PriceList, read_prices

HOURS = 730  # of a month, as AWS counts
# how many there are of each, counted in the synthesized stacks by tests/infra/test_prices.py
NUM_KEYS = 6
NUM_ALARMS = 14
NUM_LUSTRE_ALARMS = 1
NUM_ENDPOINT_ALARMS, NUM_VARIANT_ALARMS = 1, 2
# of each prefix of a bucket that is asked (docs.aws.amazon.com/AmazonS3/latest/userguide/metrics-dimensions.html)
NUM_REQUEST_METRICS = 16
# data processing units of a Glue worker (docs.aws.amazon.com/glue/latest/dg/worker-types.html)
GLUE_UNITS = {"G.1X": 1, "G.2X": 2, "G.4X": 4, "G.8X": 8}
# Capacity units of OpenSearch Serverless that never stop: half a one to index and half a one to search, doubled by standby
# replicas (docs.aws.amazon.com/opensearch-service/latest/developerguide/serverless-scaling.html)
OPENSEARCH_UNITS = 1


class Part(Config):
    """One part of the bill."""

    name: str
    """What it is."""
    idle_usd: float
    """A month while nobody works."""
    used_usd: float
    """What a month of ordinary work adds."""
    counted: str
    """What was counted."""


class Estimate(Config):
    """A month of an environment, in USD without taxes."""

    environment: str
    """Name of the environment."""
    region: str
    """Its region."""
    prices_region: str
    """Region the prices hold for; another one where `region` has no price file."""
    prices_date: str
    """Day the prices were read."""
    prices_source: str
    """Where they were read."""
    idle_usd: float
    """Everything, while nobody works."""
    total_usd: float
    """Everything, with a month of ordinary work (terraform/prices/use.yaml)."""
    parts: list[Part]
    """Part by part, dearest first."""


class Line(NamedTuple):
    """One kind of thing in a part."""

    part: str
    counted: str
    idle_usd: float = 0.0
    used_usd: float = 0.0


def estimate(environment: Environment, endpoint: Endpoint | None) -> Estimate:
    """The monthly price. Raises LlmopsError for an instance type without a price."""
    prices, use = read_prices(environment.region), read_use()
    lines = [
        *network_lines(environment, prices, use),
        *storage_lines(environment, prices, use),
        *job_lines(environment, prices, use),
        *retrieval_lines(environment, prices),
        *monitoring_lines(environment, prices, use),
        *endpoint_lines(environment, endpoint, prices),
    ]
    names = list(dict.fromkeys(line.part for line in lines))
    parts = [total(name, [line for line in lines if line.part == name]) for name in names]
    idle = sum(part.idle_usd for part in parts)
    return Estimate(
        environment=environment.name,
        region=environment.region,
        prices_region=prices.region,
        prices_date=prices.date.isoformat(),
        prices_source=prices.source,
        idle_usd=round(idle, 2),
        total_usd=round(idle + sum(part.used_usd for part in parts), 2),
        parts=sorted(parts, key=lambda part: -(part.idle_usd + part.used_usd)),
    )


def total(name: str, lines: list[Line]) -> Part:
    """The lines of one part as one."""
    idle, used = sum(line.idle_usd for line in lines), sum(line.used_usd for line in lines)
    return Part(name=name, idle_usd=round(idle, 2), used_usd=round(used, 2), counted=", ".join(line.counted for line in lines))


def network_lines(environment: Environment, prices: PriceList, use: Use) -> Iterator[Line]:
    """Private endpoints by hour and zone, and the way out where there is one."""
    network = environment.network
    zones = min(network.endpoint_zones, network.num_zones)
    num = len(services_of(environment))
    yield Line(
        "network",
        f"{num} private endpoints in {zones} zone{'s' if zones > 1 else ''}",
        num * zones * prices.hourly["vpc_endpoint"] * HOURS,
        use.private_traffic_gib * prices.used["vpc_endpoint_gib"],
    )
    if network.nat:
        yield Line("network", "a NAT gateway", (prices.hourly["nat_gateway"] + prices.hourly["public_ipv4"]) * HOURS)


def storage_lines(environment: Environment, prices: PriceList, use: Use) -> Iterator[Line]:
    """Keys, buckets, and the file system where there is one."""
    yield Line("storage", f"{NUM_KEYS} keys", NUM_KEYS * prices.monthly["kms_key"])
    requests = use.s3_puts / 1000 * prices.used["s3_put_1000"] + use.s3_gets / 1000 * prices.used["s3_get_1000"]
    yield Line("storage", f"{use.stored_gib:g} GiB in S3", 0, use.stored_gib * prices.used["s3_gib_month"] + requests)
    if fsx := environment.storage.fsx:
        price = prices.monthly[f"lustre_gib_{fsx.throughput}"]
        yield Line("file system", f"Lustre, {fsx.size_gib} GiB at {fsx.throughput} MB/s/TiB", fsx.size_gib * price)


def job_lines(environment: Environment, prices: PriceList, use: Use) -> Iterator[Line]:
    """Jobs, which cost while they run, and MLflow."""
    training, glue = environment.training, environment.preprocessing
    hours = use.training_hours * training.num_instances
    yield Line("training", f"{hours:g} h of {training.instance_type}", 0, hours * prices.instance(training.instance_type))
    units = use.preprocessing_hours * glue.num_workers * GLUE_UNITS[glue.worker_type]
    yield Line("preprocessing", f"{units:g} h of Glue units", 0, units * prices.used["glue_unit_hour"])
    if environment.tracking.mlflow == "tracking-server":
        size = environment.tracking.server_size
        yield Line("tracking", f"an MLflow server, {size}", prices.hourly[f"mlflow_{size.lower()}"] * HOURS)


def retrieval_lines(environment: Environment, prices: PriceList) -> Iterator[Line]:
    """Vector stores and search, at their least capacity."""
    retrieval = environment.retrieval
    if retrieval.opensearch:
        units = OPENSEARCH_UNITS * (2 if retrieval.opensearch.standby else 1)
        endpoint = environment.network.num_zones * prices.hourly["vpc_endpoint"]
        yield Line("retrieval", f"{units} OpenSearch units", (units * prices.hourly["opensearch_unit"] + endpoint) * HOURS)
    if pgvector := retrieval.pgvector:
        capacity = pgvector.min_capacity * pgvector.num_instances
        aurora = capacity * prices.hourly["aurora_capacity_unit"] * HOURS
        yield Line("retrieval", f"{capacity:g} Aurora capacity units", aurora + prices.monthly["secret"])
    if kendra := retrieval.kendra:
        edition = kendra.edition.removesuffix("_EDITION").lower()
        yield Line("retrieval", f"Kendra, {edition}", prices.hourly[f"kendra_{edition}"] * HOURS)


def monitoring_lines(environment: Environment, prices: PriceList, use: Use) -> Iterator[Line]:
    """Alarms and the dashboard, logs, metrics of requests, and the monitor job."""
    num = NUM_ALARMS + (NUM_LUSTRE_ALARMS if environment.storage.fsx else 0)
    yield Line("monitoring", f"{num} alarms, a dashboard", num * prices.monthly["alarm"] + prices.monthly["dashboard"])
    yield Line("monitoring", f"{use.log_gib:g} GiB of logs", 0, use.log_gib * prices.used["log_gib"])
    metrics = use.busy_prefixes * NUM_REQUEST_METRICS
    yield Line("monitoring", f"{metrics:g} metrics of S3 requests", 0, metrics * prices.used["metric"])
    instance_type = environment.monitoring.instance_type
    job = use.monitoring_hours * prices.instance(instance_type)
    yield Line("monitoring", f"{use.monitoring_hours:g} h of {instance_type}", 0, job)


def endpoint_lines(environment: Environment, endpoint: Endpoint | None, prices: PriceList) -> Iterator[Line]:
    """Instances of all variants, which cost whether they are asked or not."""
    serving = environment.serving
    if endpoint is None:
        return
    for variant in endpoint.variants:
        hosting = serving.variants.get(variant.name, serving.hosting)
        hourly = hosting.num_instances * prices.instance(hosting.instance_type)
        yield Line("endpoint", f"{variant.name}: {hosting.num_instances} x {hosting.instance_type}", hourly * HOURS)
    num = NUM_ENDPOINT_ALARMS + NUM_VARIANT_ALARMS * len(endpoint.production())
    yield Line("endpoint", f"{num} alarms, a dashboard", num * prices.monthly["alarm"] + prices.monthly["dashboard"])


def table(found: Estimate) -> str:
    """The estimate for people."""
    rows = [("part", "idle", "with work", "counted")]
    rows += [(part.name, f"{part.idle_usd:.2f}", f"{part.idle_usd + part.used_usd:.2f}", part.counted) for part in found.parts]
    rows.append(("total", f"{found.idle_usd:.2f}", f"{found.total_usd:.2f}", ""))
    lines = [f"  {name:<14}{idle:>10}{work:>11}  {counted}".rstrip() for name, idle, work, counted in rows]
    elsewhere = "" if found.prices_region == found.region else f", which may differ from {found.region}'s"
    head = f"{found.environment}: USD a month at prices of {found.prices_region} on {found.prices_date} ({found.prices_source}){elsewhere}"
    return "\n".join([head, *lines])
