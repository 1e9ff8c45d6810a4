"""A SageMaker endpoint through its runtime API: the gateway in front of what Terraform made."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from llmops_serve.engines.dialect import Dialect
from llmops_serve.engines.engine import EngineError, OverloadError, Prompt, Sampling, Step, UnsupportedError
from llmops_serve.engines.lines import events
from llmops_serve.engines.remote import reason_of, translated
from llmops_shared.errors import LlmopsError

READ_TIMEOUT_S = 480  # SageMaker ends a stream after eight minutes
END = object()


class SageMakerEngine:
    """One endpoint, or one of its variants. All methods are called on one event loop; boto3 works in threads."""

    def __init__(self, target: str, dialect: Dialect, max_requests: int) -> None:
        self._endpoint, _, variant = target.strip("/").partition("/")
        self._target = {"TargetVariant": variant} if variant else {}
        self._dialect = dialect
        self._max_requests = max_requests
        self._num_requests = 0
        self._failure: str | None = None
        self._client: Any = None

    async def start(self) -> None:
        """Makes the client; whether the endpoint is in service, `llmops-serve status` tells."""
        self._client = await asyncio.to_thread(make_client, self._max_requests)

    def failure(self) -> str | None:
        return self._failure

    def num_requests(self) -> int:
        return self._num_requests

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Step, None]:
        body = json.dumps(self._dialect.invocation(prompt, sampling)).encode()
        if self._num_requests >= self._max_requests:
            raise OverloadError(f"{self._max_requests} requests are under way")
        self._num_requests += 1
        try:
            stream = await asyncio.to_thread(self._invoke, body)
            async with aclosing(pieces(stream)) as parts, aclosing(translated(events(parts), self._dialect)) as steps:
                async for step in steps:
                    self._failure = None
                    yield step
        finally:
            self._num_requests -= 1

    async def stop(self) -> None:
        if self._client is not None:
            await asyncio.to_thread(self._client.close)

    def _invoke(self, body: bytes) -> Any:
        """The event stream of an answer. Raises what the service's errors mean."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            response = self._client.invoke_endpoint_with_response_stream(
                EndpointName=self._endpoint, Body=body, ContentType="application/json", Accept="application/json", **self._target
            )
        except ClientError as error:
            raise translate(error, self._endpoint) from error
        except BotoCoreError as error:
            self._failure = f"sagemaker://{self._endpoint}: {error}"
            raise EngineError(self._failure) from error
        return response["Body"]


def make_client(max_requests: int) -> Any:
    """boto3's client. Raises LlmopsError without a region."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import NoRegionError

    # the gateway retries before the first token, where it knows of other replicas
    config = Config(max_pool_connections=max_requests, read_timeout=READ_TIMEOUT_S, retries={"total_max_attempts": 1})
    try:
        return boto3.client("sagemaker-runtime", config=config)
    except NoRegionError as error:
        raise LlmopsError("sagemaker:// needs a region; set AWS_REGION or AWS_DEFAULT_REGION") from error


def translate(error: Any, endpoint: str) -> Exception:
    """The gateway's error for a `ClientError` of invoke_endpoint_with_response_stream.

    docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointWithResponseStream.html
    """
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    status = error.response.get("OriginalStatusCode")
    if code == "ModelError":
        words = reason_of(str(error.response.get("OriginalMessage") or message).encode())
        if status == 429:
            return OverloadError(f"{endpoint}: {words}")
        if status in (400, 413, 422):
            return UnsupportedError(words)
        return EngineError(f"{endpoint}: the container answered {status}: {words}")
    if code in ("ThrottlingException", "TooManyRequestsException"):
        return OverloadError(f"{endpoint}: {message}")
    return EngineError(f"{endpoint}: {code}: {message}")


async def pieces(stream: Any) -> AsyncGenerator[bytes, None]:
    """The bytes of a response stream, read in a thread of its own. Raises EngineError for its error events.

    Closing the iterator closes the connection, upon which SageMaker tells the container.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Any] = asyncio.Queue()

    def read() -> None:
        for item in until_broken(stream):
            loop.call_soon_threadsafe(queue.put_nowait, item)

    threading.Thread(target=read, daemon=True).start()
    try:
        while (item := await queue.get()) is not END:
            if isinstance(item, EngineError):
                raise item
            yield item
    finally:
        stream.close()


def until_broken(stream: Any) -> Iterator[Any]:
    """The bytes of each PayloadPart, then END; or the EngineError that the stream ends with."""
    from botocore.exceptions import BotoCoreError, EventStreamError
    from urllib3.exceptions import HTTPError

    try:
        for event in stream:
            if part := event.get("PayloadPart"):
                yield part["Bytes"]
            else:  # botocore raises the modelled errors; an event of another name is one it does not know
                yield EngineError(f"the response stream holds an unknown event: {', '.join(event)}")
                return
    except EventStreamError as error:
        yield EngineError(words_of(error))
        return
    except (BotoCoreError, HTTPError, OSError, ValueError, AttributeError) as error:  # the last two: it was closed while being read
        yield EngineError(f"the response stream broke: {error}")
        return
    yield END


def words_of(error: Any) -> str:
    """What a ModelStreamError or an InternalStreamFailure says."""
    told = error.response.get("Error", {})
    return f"{told.get('Code', type(error).__name__)}: {told.get('Message', '')}"
