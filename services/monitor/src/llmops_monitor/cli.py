"""`llmops-monitor`: verdicts drawn from the traffic of an endpoint."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmops_monitor.ab_config import AbConfig, PlanConfig
from llmops_monitor.config import CompareConfig, DriftConfig
from llmops_monitor.infrastructure_config import InfrastructureConfig
from llmops_monitor.remediate_config import RemediateConfig
from llmops_monitor.retrieval_config import RetrievalConfig
from llmops_monitor.review_config import LabelsConfig, ReviewConfig, SampleConfig
from llmops_monitor.traffic_config import CollectConfig, DescribeConfig, HistoryConfig, ProfileConfig
from llmops_monitor.why_config import WhyConfig
from llmops_shared.command import Verb, run_command

if TYPE_CHECKING:
    from llmops_monitor.collect import Ledger
    from llmops_monitor.lineage import Lineage
    from llmops_monitor.profile_job import ReferenceProfile
    from llmops_monitor.remediate import Remediation
    from llmops_shared.contracts import Report


def compare(config: CompareConfig) -> "Report":
    """Imports numpy late."""
    from llmops_monitor.compare import run

    return run(config, os.environ.get("OPENAI_API_KEY"))


def drift(config: DriftConfig) -> "Report":
    """Imports numpy late, and Evidently when there is work to do."""
    from llmops_monitor.drift import run

    return run(config)


def ab(config: AbConfig) -> "Report":
    """Imports numpy late."""
    from llmops_monitor.ab import run

    return run(config)


def plan(config: PlanConfig) -> "Report":
    """Imports numpy late."""
    from llmops_monitor.plan import run

    return run(config)


def why(config: WhyConfig) -> "Lineage":
    """Reads documents only."""
    from llmops_monitor.why import run

    return run(config)


def remediate(config: RemediateConfig) -> "Remediation":
    """GitHub's token comes from the environment, where its own runners put it."""
    from llmops_monitor.remediate import run

    return run(config, os.environ.get("GITHUB_TOKEN"))


def rehearse_remedy(config: RemediateConfig) -> dict[str, Any]:
    """Reads the report and sends nothing."""
    from llmops_monitor.remediate import rehearse

    return rehearse(config)


def sample(config: SampleConfig) -> None:
    """Writes into a queue, so there is no document."""
    from llmops_monitor.sample import run

    run(config)


def review(config: ReviewConfig) -> None:
    """A server; its key comes from the environment, where secrets are put."""
    from llmops_monitor.review.serve import run

    run(config, os.environ.get("LLMOPS_REVIEW_KEY"))


def labels(config: LabelsConfig) -> "Report":
    """Reads answers only."""
    from llmops_monitor.label_report import run

    return run(config)


def describe(config: DescribeConfig) -> "Report":
    """Imports numpy late."""
    from llmops_monitor.describe import run

    return run(config)


def profile(config: ProfileConfig) -> "ReferenceProfile":
    """Imports numpy late."""
    from llmops_monitor.profile_job import run

    return run(config)


def collect(config: CollectConfig) -> "Ledger":
    """Imports numpy late."""
    from llmops_monitor.collect import run

    return run(config)


def history(config: HistoryConfig) -> "Report":
    """Imports numpy late."""
    from llmops_monitor.history import run

    return run(config)


def rehearse_sample(config: SampleConfig) -> dict[str, Any]:
    """Chooses, and queues nothing."""
    from llmops_monitor.sample import rehearse

    return rehearse(config)


def retrieval(config: RetrievalConfig) -> "Report":
    """Imports numpy and the vector store's client late."""
    from llmops_monitor.retrieval import run

    return run(config)


def infrastructure(config: InfrastructureConfig) -> "Report":
    """Imports boto3 late."""
    from llmops_monitor.infrastructure import run

    return run(config)


def rehearse_infrastructure(config: InfrastructureConfig) -> dict[str, Any] | None:
    """The requests to CloudWatch."""
    from llmops_monitor.infrastructure import rehearse

    return rehearse(config)


VERBS: list[Verb[Any]] = [
    Verb(
        "compare",
        "compare a shadow model with production on the requests both answered; exit 3 unless the verdict is promote",
        CompareConfig,
        compare,
        refuses=lambda report: report.verdict != "promote",
    ),
    Verb(
        "ab",
        "compare two variants that share the live traffic, at any time; exit 3 unless the verdict is promote",
        AbConfig,
        ab,
        refuses=lambda report: report.verdict != "promote",
    ),
    Verb("plan", "how many requests a comparison needs, before it starts", PlanConfig, plan),
    Verb(
        "drift",
        "compare two windows of traffic; exit 3 when the verdict is drift",
        DriftConfig,
        drift,
        refuses=lambda report: report.verdict == "drift",
    ),
    Verb(
        "why",
        "walk from an answer back to the raw documents; exit 3 where the chain has a gap",
        WhyConfig,
        why,
        refuses=lambda lineage: bool(lineage.gaps),
        subject="request_id",
    ),
    Verb(
        "remediate",
        "from a report to what to do about it, and to the next training set and pipeline",
        RemediateConfig,
        remediate,
        rehearse=rehearse_remedy,
        subject="report",
    ),
    Verb("sample", "queue exchanges for people: close calls, alarms and a random share", SampleConfig, sample, rehearse=rehearse_sample),
    Verb("review", "serve the page people answer on, by keyboard alone", ReviewConfig, review),
    Verb("labels", "what people said: rows to train on, their agreement, and the judge's with them", LabelsConfig, labels),
    Verb("describe", "measure every exchange of a window: size, tone, safety, relevance, format, cost", DescribeConfig, describe),
    Verb("profile", "save the profile of good traffic, for drift profile=", ProfileConfig, profile),
    Verb("collect", "add new records of a log to the profiles of their time windows", CollectConfig, collect),
    Verb(
        "history",
        "draw every metric over time, with alarms; exit 3 when the newest window drifted from the reference profile or raised an alarm",
        HistoryConfig,
        history,
        refuses=lambda report: report.verdict in ("drift", "alarm"),
    ),
    Verb(
        "retrieval",
        "measure an index and the retrieval of a window; exit 3 when questions or scores drifted",
        RetrievalConfig,
        retrieval,
        refuses=lambda report: report.verdict == "drift",
    ),
    Verb(
        "infrastructure",
        "latency, load, errors and hardware of an endpoint, from its /metrics or CloudWatch; exit 3 when one is unlike its past",
        InfrastructureConfig,
        infrastructure,
        refuses=lambda report: report.verdict == "alarm",
        rehearse=rehearse_infrastructure,
    ),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb and returns the exit code."""
    return run_command("llmops-monitor", "Shadow verdicts and drift from exchange logs.", VERBS, argv)
