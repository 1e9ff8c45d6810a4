"""`llmops-serve idle`: endpoints that cost and answer nobody."""

import logging
from typing import Any

from llmops_serve.idle_config import IdleConfig
from llmops_serve.sagemaker_endpoints import Idle, endpoints, stop
from llmops_shared.contracts import Report
from llmops_shared.contracts.report import Measurement
from llmops_shared.prices.price_list import read_prices

logger = logging.getLogger(__name__)

HOURS_PER_MONTH = 730


def idle(config: IdleConfig) -> Report:
    """Lists the endpoints without a request for `hours`, with what they cost; stops them when told to."""
    prices = read_prices(config.region)
    seen = [one for one in endpoints(config.region, config.prefix, config.hours) if one.name not in config.keep]
    found = [one for one in seen if one.num_requests == 0]
    hourly = {one.name: sum(count * prices.instance(kind) for kind, count in one.instances.items()) for one in found}
    if config.yes:
        for one in found:
            stop(config.region, one.name)
            logger.info("%s: stopped; it cost %.2f USD an hour", one.name, hourly[one.name])
    nothing = f"none of {len(seen)} endpoints was idle for {config.hours:g} h"
    return Report(
        report="idle",
        name=f"idle-{config.region}",
        subjects={},
        measurements=[
            *(cost(f"{one.name}/usd_per_hour", hourly[one.name], one) for one in found),
            Measurement(
                name="usd_per_month", value=round(sum(hourly.values()) * HOURS_PER_MONTH, 2), low=None, high=None, confidence=None,
                num_rows=len(found), better="lower", unit="USD", details={"prices": f"{prices.region}, {prices.date}"},
            ),
        ],
        verdict=None,
        reasons=[describe(one, hourly[one.name], config) for one in found] or [nothing],
        parts={},
        mlflow_run_id=None,
    )  # fmt: skip


def describe(one: Idle, usd: float, config: IdleConfig) -> str:
    """An idle endpoint in words."""
    hardware = ", ".join(f"{count} x {kind}" for kind, count in sorted(one.instances.items()))
    state = "stopped" if config.yes else "stop it with --yes"
    return f"{one.name}: no request for {config.hours:g} h, {hardware}, {usd:.2f} USD an hour, {usd * HOURS_PER_MONTH:.0f} a month; {state}"


def cost(name: str, value: float, one: Idle) -> Measurement:
    """What an endpoint costs."""
    return Measurement(
        name=name, value=round(value, 4), low=None, high=None, confidence=None, num_rows=one.num_requests, better="lower", unit="USD"
    )  # fmt: skip


def rehearse(config: IdleConfig) -> dict[str, Any]:
    """The requests, for `--dry-run`."""
    from llmops_serve.sagemaker_endpoints import traffic_request

    return {
        "ListEndpoints": {"StatusEquals": "InService", **({"NameContains": config.prefix} if config.prefix else {})},
        "GetMetricData": traffic_request("ENDPOINT", ["VARIANT"], config.hours),
        **({"DeleteEndpoint": {"EndpointName": "each idle one"}} if config.yes else {}),
    }
