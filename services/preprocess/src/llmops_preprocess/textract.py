"""Amazon Textract: pages without text read by machine, each paid for once."""

import functools
import hashlib
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

from llmops_preprocess.files_config import Textract
from llmops_preprocess.scanned_page import ScannedPage
from llmops_preprocess.textract_blocks import pages_of
from llmops_shared.aws_errors import refused
from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, join, store_for

logger = logging.getLogger(__name__)

MAX_SYNCHRONOUS_BYTES = 10 * 10**6
MAX_ASYNCHRONOUS_BYTES = 500 * 10**6
"""docs.aws.amazon.com/textract/latest/dg/limits-document.html; a synchronous PDF or TIFF has one page, an asynchronous 3,000."""
FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 30.0
MEDIA = ((b"%PDF", "pdf"), (b"\x89PNG", "png"), (b"\xff\xd8", "jpg"), (b"II*\0", "tif"), (b"MM\0*", "tif"))
REFUSED = ("UnsupportedDocumentException", "BadDocumentException", "DocumentTooLargeException")
"""About the document, not about us: one page's dead letter, the rest goes on."""


class TextractReader:
    """Reads pages with Textract; answers are kept by content hash."""

    def __init__(self, config: Textract, cache: str) -> None:
        self.config, self.cache = config, config.cache or cache

    @property
    def takes_documents(self) -> bool:
        """Whether there is a place for asynchronous jobs to read from."""
        return self.config.staging is not None

    def read(self, content: bytes, num_pages: int) -> list[ScannedPage]:
        """The pages. Raises ValueError for a document Textract refuses, LlmopsError when it cannot be asked."""
        return pages_of(self.blocks(content, num_pages), self.config.min_confidence)

    def blocks(self, content: bytes, num_pages: int) -> list[dict[str, Any]]:
        """Textract's blocks, from the cache where this content was read before with these features."""
        digest = hashlib.sha256(content).hexdigest()
        place = join(self.cache, f"{digest}-{'-'.join(sorted(self.config.features)).lower() or 'text'}.json")
        if exists(place):
            kept: list[dict[str, Any]] = json.loads(store_for(place).read(place))
            return kept
        if num_pages == 1 and len(content) <= MAX_SYNCHRONOUS_BYTES:
            blocks = self._synchronous(content)
        else:
            blocks = list(self._asynchronous(content, digest))
        store_for(place).write(place, json.dumps(blocks).encode())
        return blocks

    def _synchronous(self, content: bytes) -> list[dict[str, Any]]:
        request: dict[str, Any] = {"Document": {"Bytes": content}}
        if self.config.features:
            answer = call("analyze_document", **request, FeatureTypes=list(self.config.features))
        else:
            answer = call("detect_document_text", **request)
        found: list[dict[str, Any]] = answer["Blocks"]
        return found

    def _asynchronous(self, content: bytes, digest: str) -> Iterator[dict[str, Any]]:
        """Puts the document into the staging prefix, runs a job over it, and takes it away again."""
        if self.config.staging is None:
            raise ValueError("Textract reads this document asynchronously only: give source.textract.staging an s3:// prefix")
        if len(content) > MAX_ASYNCHRONOUS_BYTES:
            raise ValueError(f"{len(content)} bytes, and Textract reads at most {MAX_ASYNCHRONOUS_BYTES}")
        kind = next((kind for start, kind in MEDIA if content.startswith(start)), "pdf")
        place = join(self.config.staging, f"{digest}.{kind}")
        store = store_for(place)
        store.write(place, content)
        try:
            operation = "document_analysis" if self.config.features else "document_text_detection"
            job = call(f"start_{operation}", **self.job_request(place, digest))["JobId"]
            yield from self._pages(f"get_{operation}", job, place)
        finally:
            store.remove(place)

    def job_request(self, place: str, digest: str) -> dict[str, Any]:
        """The parameters of StartDocumentAnalysis or StartDocumentTextDetection.

        The token is the content's digest: asked again after an interruption, Textract goes on with the job it began.
        """
        bucket, _, key = place.removeprefix("s3://").partition("/")
        request: dict[str, Any] = {
            "DocumentLocation": {"S3Object": {"Bucket": bucket, "Name": key}},
            "ClientRequestToken": digest,
            "JobTag": "llmops-preprocess",
        }
        return request | ({"FeatureTypes": list(self.config.features)} if self.config.features else {})

    def _pages(self, operation: str, job: str, place: str) -> Iterator[dict[str, Any]]:
        """The blocks of a job, waited for with growing pauses, from all pages of the answer."""
        deadline, pause, token = time.monotonic() + self.config.timeout_s, FIRST_WAIT_S, None
        while True:
            answer = call(operation, JobId=job, **({"NextToken": token} if token else {}))
            match answer["JobStatus"]:
                case "IN_PROGRESS":
                    if time.monotonic() + pause > deadline:
                        waited = f"Textract's job {job} has not ended after {self.config.timeout_s:g} s"
                        raise LlmopsError(f"{place}: {waited}; raise source.textract.timeout_s")
                    time.sleep(pause)
                    pause = min(2 * pause, LONGEST_WAIT_S)
                    continue
                case "FAILED":
                    raise ValueError(f"Textract could not read it: {answer.get('StatusMessage', 'no reason given')}")
                case "PARTIAL_SUCCESS":
                    logger.warning("%s: Textract could not read the pages %s", place, answer.get("Warnings"))
            yield from answer.get("Blocks", [])
            token = answer.get("NextToken")
            if token is None:
                return


def call(operation: str, **parameters: Any) -> dict[str, Any]:
    """One call. Raises ValueError for what Textract says about the document, LlmopsError for everything else."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer: dict[str, Any] = getattr(client(), operation)(**parameters)
    except ClientError as error:
        if error.response["Error"]["Code"] in REFUSED:
            raise ValueError(f"Textract refuses it: {error.response['Error']['Code']}") from error
        raise refused(f"Textract {operation}", error) from error
    except BotoCoreError as error:
        raise refused(f"Textract {operation}", error) from error
    return answer


@functools.cache
def client() -> Any:
    """The service's client, one a process; throttled calls are repeated by botocore with growing pauses and jitter, at a rate it learns."""
    import boto3
    from botocore.config import Config

    return boto3.client("textract", config=Config(retries={"mode": "adaptive", "max_attempts": 10}))
