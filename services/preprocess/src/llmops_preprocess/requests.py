"""Requests to S3: what a run will send, told beforehand, and what it sent, told afterwards."""

import logging
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from llmops_preprocess.config import JsonLines, PreprocessConfig
from llmops_preprocess.files_config import Files
from llmops_shared.errors import LlmopsError
from llmops_shared.store import Entry
from llmops_shared.tracking import Run

logger = logging.getLogger(__name__)

GETS_PER_SECOND, PUTS_PER_SECOND = 5500, 3500
"""What one prefix bears: https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html."""
MB_PER_SECOND = 2.0
"""Of JSON lines through all stages, on one core (README, Speed)."""
BYTES_OUT_PER_BYTE = 1.6
"""Rows and shards together, of a byte of JSON lines of which nothing is dropped: a token is four characters and five bytes."""
LIST_KEYS = 1000
"""Keys in an answer of ListObjectsV2."""


def plan_requests(config: PreprocessConfig) -> dict[str, Any]:
    """Requests of a run by prefix, and how many of them a second. Raises LlmopsError for a source that is not in S3."""
    from llmops_shared.s3 import RANGE_BYTES
    from llmops_shared.s3_requests import prefix_of_key

    entries = s3_files(config)
    workers = num_workers(config)
    size = sum(entry.size_bytes for entry in entries)
    seconds = size / 1e6 / MB_PER_SECOND / workers
    gets, bytes_of = Counter[str](), Counter[str]()
    for entry in entries:
        prefix = prefix_of_key(entry.uri)
        gets[prefix] += max(1, math.ceil(entry.size_bytes / RANGE_BYTES))
        bytes_of[prefix] += entry.size_bytes
    prefixes = {
        prefix: {
            "bytes": bytes_of[prefix],
            "gets": number,
            "gets_per_gb": round(number / max(bytes_of[prefix], 1) * 1e9, 1),
            "gets_per_second": round(number / max(seconds, 1), 3),
            "share_of_limit": round(number / max(seconds, 1) / GETS_PER_SECOND, 6),
        }
        for prefix, number in sorted(gets.items())
    }
    plan: dict[str, Any] = {"workers": workers, "seconds": round(seconds), "lists": math.ceil(len(entries) / LIST_KEYS), "read": prefixes}
    if config.out.startswith("s3://"):
        puts = math.ceil(size * BYTES_OUT_PER_BYTE / RANGE_BYTES)
        rate = puts / max(seconds, 1)
        plan["write"] = {
            prefix_of_key(f"{config.out}/x"): {
                "puts": puts, "puts_per_second": round(rate, 3), "share_of_limit": round(rate / PUTS_PER_SECOND, 6)
            }
        }  # fmt: skip
    return plan


def s3_files(config: PreprocessConfig) -> list[Entry]:
    """The objects a run reads."""
    source = config.source
    if not (isinstance(source, JsonLines | Files) and source.uri.startswith("s3://")):
        raise LlmopsError(f"source.kind {source.kind}: is not read from S3, so it takes no requests; set source.uri=s3://...")
    if isinstance(source, JsonLines):
        from llmops_preprocess.jsonl import jsonl_files

        return jsonl_files(source.uri)
    from llmops_preprocess.files import files_of

    return files_of(source)


def num_workers(config: PreprocessConfig) -> int:
    """Processes that read at a time."""
    import os

    if config.engine == "glue":
        cores = {"1X": 4, "2X": 8, "4X": 16, "8X": 32}[config.glue.worker_type.partition(".")[2]]
        return cores * (config.glue.num_workers - 1)
    return config.workers or len(os.sched_getaffinity(0))


def print_plan(config: PreprocessConfig) -> None:
    """The plan as JSON on stdout."""
    import json
    import sys

    sys.stdout.write(json.dumps(plan_requests(config), indent=2) + "\n")


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
    found = Counter[str]()
    for name, number in sent.items():
        found[name.partition(" ")[0]] += number
    return dict(found)
