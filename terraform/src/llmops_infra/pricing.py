"""AWS's Pricing API: reads the price list of a region anew."""

import datetime
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import boto3  # noqa: TID253 - this module is imported late

from llmops_shared.aws_errors import explained
from llmops_shared.prices.price_list import PriceList

logger = logging.getLogger(__name__)

# The API is in few regions and answers for all (docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html).
API_REGION = "us-east-1"

# Service code and usage type of each item. Outside us-east-1 a usage type begins with the region's short name, as in
# EU-VpcEndpoint-Hours, so it is looked for by its end.
ITEMS: dict[tuple[str, str], tuple[str, str]] = {
    ("hourly", "vpc_endpoint"): ("AmazonVPC", "VpcEndpoint-Hours"),
    ("hourly", "nat_gateway"): ("AmazonEC2", "NatGateway-Hours"),
    ("hourly", "public_ipv4"): ("AmazonVPC", "PublicIPv4:InUseAddress"),
    ("hourly", "opensearch_unit"): ("AmazonES", "IndexingOCU"),
    ("hourly", "aurora_capacity_unit"): ("AmazonRDS", "Aurora:ServerlessV2Usage"),
    ("hourly", "kendra_developer"): ("AmazonKendra", "KendraDeveloperEdition"),
    ("hourly", "kendra_enterprise"): ("AmazonKendra", "KendraEnterpriseEdition"),
    ("hourly", "kendra_gen_ai_enterprise"): ("AmazonKendra", "KendraGenAIEnterpriseEdition"),
    ("hourly", "mlflow_small"): ("AmazonSageMaker", "MLflow:ml.small"),
    ("hourly", "mlflow_medium"): ("AmazonSageMaker", "MLflow:ml.medium"),
    ("hourly", "mlflow_large"): ("AmazonSageMaker", "MLflow:ml.large"),
    ("monthly", "kms_key"): ("awskms", "KMS-Keys"),
    ("monthly", "secret"): ("AWSSecretsManager", "AWSSecretsManager-Secrets"),
    ("monthly", "alarm"): ("AmazonCloudWatch", "CW:AlarmMonitorUsage"),
    ("monthly", "dashboard"): ("AmazonCloudWatch", "DashboardsUsageHour"),
    ("monthly", "lustre_gib_125"): ("AmazonFSx", "PersistentStorage-125MBs"),
    ("monthly", "lustre_gib_250"): ("AmazonFSx", "PersistentStorage-250MBs"),
    ("monthly", "lustre_gib_500"): ("AmazonFSx", "PersistentStorage-500MBs"),
    ("monthly", "lustre_gib_1000"): ("AmazonFSx", "PersistentStorage-1000MBs"),
    ("used", "s3_gib_month"): ("AmazonS3", "TimedStorage-ByteHrs"),
    ("used", "vpc_endpoint_gib"): ("AmazonVPC", "VpcEndpoint-Bytes"),
    ("used", "log_gib"): ("AmazonCloudWatch", "DataProcessing-Bytes"),
    ("used", "metric"): ("AmazonCloudWatch", "CW:MetricMonitorUsage"),
    ("used", "glue_unit_hour"): ("AWSGlue", "ETL-DPU-Hour"),
}
# requests are listed one by one, our items hold for a thousand
REQUESTS = {("used", "s3_put_1000"): ("AmazonS3", "Requests-Tier1"), ("used", "s3_get_1000"): ("AmazonS3", "Requests-Tier2")}


def refresh(old: PriceList, region: str) -> PriceList:
    """The list of `region`, from the Pricing API. What the API does not list keeps its old figure and is named in `older`."""
    client = boto3.client("pricing", region_name=API_REGION)
    fresh: dict[str, dict[str, float]] = {"hourly": {}, "monthly": {}, "used": {}}
    with explained("the Pricing API"):
        for items, factor in ((ITEMS, 1), (REQUESTS, 1000)):
            for (group, name), (service, usage) in items.items():
                if (usd := usage_price(client, service, region, usage)) is not None:
                    fresh[group][name] = round(usd * factor, 6)
        instances = dict(instance_prices(client, region))
    missing = [f"{group}.{name}" for group, name in {**ITEMS, **REQUESTS} if name not in fresh[group]]
    missing += [f"instances.{name}" for name in old.instances if name not in instances]
    if missing:
        logger.warning("not listed for %s, kept from %s: %s", region, old.date, ", ".join(missing))
    return PriceList(
        region=region,
        date=datetime.datetime.now(datetime.UTC).date(),
        source="AWS Pricing API",
        hourly={**old.hourly, **fresh["hourly"]},
        monthly={**old.monthly, **fresh["monthly"]},
        used={**old.used, **fresh["used"]},
        instances=dict(sorted({**old.instances, **instances}.items())),
        older=missing,
    )


def usage_price(client: Any, service: str, region: str, usage: str) -> float | None:
    """USD per unit of a usage type at its first tier, or None where the region has none."""
    filters = [("TERM_MATCH", "regionCode", region), ("CONTAINS", "usagetype", usage)]
    ending = re.compile(rf"(^|-){re.escape(usage)}$")
    prices = [
        usd(product) for product in products(client, service, filters) if ending.search(product["product"]["attributes"]["usagetype"])
    ]
    return max((price for price in prices if price is not None), default=None)


def instance_prices(client: Any, region: str) -> Iterator[tuple[str, float]]:
    """USD per hour of every instance type that hosts endpoints; training costs the same."""
    filters = [("TERM_MATCH", "regionCode", region), ("TERM_MATCH", "productFamily", "ML Instance"), ("TERM_MATCH", "component", "Hosting")]
    for product in products(client, "AmazonSageMaker", filters):
        name, price = product["product"]["attributes"].get("instanceName"), usd(product)
        if name and price:
            yield name, price


def products(client: Any, service: str, filters: list[tuple[str, str, str]]) -> Iterator[dict[str, Any]]:
    """All products that match, page by page."""
    pages = client.get_paginator("get_products").paginate(
        ServiceCode=service,
        FormatVersion="aws_v1",
        Filters=[{"Type": kind, "Field": field, "Value": value} for kind, field, value in filters],
    )
    for page in pages:
        for text in page["PriceList"]:
            yield json.loads(text)


def usd(product: dict[str, Any]) -> float | None:
    """The on-demand price of its first unit that is not free."""
    for term in product["terms"].get("OnDemand", {}).values():
        tiers = sorted(term["priceDimensions"].values(), key=lambda tier: float(tier.get("beginRange", 0)))
        for tier in tiers:
            price = float(tier["pricePerUnit"].get("USD", 0))
            if price > 0:
                return price
    return None
