"""Requests to S3: what a run will send, told beforehand, and what it sent, told afterwards."""

import logging
from collections.abc import Mapping

from llmops_shared.tracking import Run

logger = logging.getLogger(__name__)


def report_requests(of_workers: Mapping[str, int], run: Run) -> None:
    """Tells log and MLflow what was sent up to now, by this process and its workers, retried requests included."""
    from llmops_shared import s3_requests

    sent = s3_requests.take()
    sent.update(of_workers)
    if sent:
        run.metrics({f"s3_requests_{operation}": float(number) for operation, number in by_operation(sent).items()})
    for name, number in sorted(sent.items()):
        logger.info("sent to S3: %d %s", number, name)


def by_operation(sent: Mapping[str, int]) -> dict[str, int]:
    """Requests of each operation over all prefixes."""
    found: dict[str, int] = {}
    for name, number in sent.items():
        operation = name.partition(" ")[0]
        found[operation] = found.get(operation, 0) + number
    return found
