"""`llmops-monitor plan`: how many requests a comparison needs before it can tell what it is meant to tell."""

import math
from statistics import NormalDist

from llmops_monitor.ab_config import PlanConfig
from llmops_shared.contracts.report import Measurement, Report


def run(config: PlanConfig) -> Report:
    """The needed requests, as a report that is printed and kept nowhere."""
    num_requests = needed_requests(config)
    figures = {"num_requests": float(num_requests)}
    if config.design == "ab":
        figures["num_requests/treatment"] = float(math.ceil(num_requests * config.treatment_share))
        figures["num_requests/looked_at_once"] = float(fixed_requests(config))
    if config.requests_per_day is not None:
        figures["days"] = num_requests / config.requests_per_day
    rows = "requests to both variants together" if config.design == "ab" else "pairs of different prompts"
    gain = f"A gain of {config.min_gain:g} is proven to be above {config.margin:g} with a chance of {config.power:.0%}"
    reasons = [f"{gain} after {num_requests} {rows}."]
    if config.design == "ab":
        reasons.append(f"Give planned_units={num_requests} to `llmops-monitor ab`, whose intervals are then narrowest there.")
    return Report(
        report="plan",
        name="plan",
        subjects={},
        measurements=[
            Measurement(name=name, value=value, low=None, high=None, confidence=None, num_rows=0, better="neither")
            for name, value in figures.items()
        ],
        verdict=None,
        reasons=reasons,
        parts={},
        mlflow_run_id=None,
    )


def needed_requests(config: PlanConfig) -> int:
    """For an A/B test the units at which the sequence has the power asked for (earlier stops come on top); else the pairs of one look.

    The sequence rejects when the difference is its boundary of standard errors above the margin, at the planned units, so
    V = ((gain - margin) / (boundary + z))^2 with the variance of the difference V = sd^2 / (n s (1 - s)) for a share s.
    """
    if config.design == "shadow":
        return fixed_requests(config)
    from llmops_monitor.sequential import boundary

    alpha = (1 - config.confidence) / (config.num_metrics + 2)  # shared out as in the verdict: metrics, latency, errors
    return requests_for(config, boundary(1.0, alpha))


def fixed_requests(config: PlanConfig) -> int:
    """Requests or pairs for one look at the end, the interval of a single metric."""
    return requests_for(config, NormalDist().inv_cdf((1 + config.confidence) / 2))


def requests_for(config: PlanConfig, standard_errors: float) -> int:
    """Requests at which the interval reaches `standard_errors` to each side and leaves the power asked for."""
    variance = config.sd**2 if config.sd is not None else spread_of_shares(config)
    if config.design == "ab":
        variance /= config.treatment_share * (1 - config.treatment_share)
    reach = standard_errors + NormalDist().inv_cdf(config.power)
    return math.ceil(variance * (reach / (config.min_gain - config.margin)) ** 2)


def spread_of_shares(config: PlanConfig) -> float:
    """Variance of a metric of 0s and 1s: of the share now or after the gain, whichever is larger."""
    now = config.share or 0.0
    return max(share * (1 - share) for share in (now, min(1.0, now + config.min_gain)))
