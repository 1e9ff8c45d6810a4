"""What AWS answered, as one message with the next thing to do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from llmops_shared.errors import LlmopsError

CODES = {
    "AWS limits how often it is asked: the same command again in a minute, it does nothing twice": """
        Throttling ThrottlingException ThrottledException TooManyRequestsException RequestLimitExceeded SlowDown
        ProvisionedThroughputExceededException""",
    "a limit of the account is reached: ask Service Quotas for more, or end what uses it up": """
        ResourceLimitExceeded LimitExceededException ServiceQuotaExceededException ResourceNumberLimitExceededException""",
    "these credentials may not do it: use a role that may; the message names the action": """
        AccessDenied AccessDeniedException UnauthorizedOperation""",
    "the credentials are not valid any more: sign in again (aws sso login) or set AWS_PROFILE": """
        ExpiredToken ExpiredTokenException InvalidClientTokenId UnrecognizedClientException InvalidSignatureException""",
    "there is no such thing in this region: correct the name, or AWS_REGION": """
        ResourceNotFound ResourceNotFoundException EntityNotFoundException NoSuchBucket""",
    "an error of the service: the same command again, it does nothing twice": """
        InternalServerError InternalServerException InternalServiceException InternalFailure ServiceUnavailable
        ServiceUnavailableException""",
    "another run of this job is under way: wait for its end, or let the job run more than once at a time": """
        ConcurrentRunsExceededException""",
    "the model is being started: the same command again in a minute": "ModelNotReadyException",
}
"""Advice to the codes of errors it is for, whatever service they come from."""
ADVICE = {code: advice for advice, codes in CODES.items() for code in codes.split()}


@contextmanager
def explained(what: str, hint: str = "", advice: Mapping[str, str] | None = None) -> Iterator[None]:
    """Within it, an error of AWS becomes that of `refused`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise refused(what, error, hint, advice) from error


def refused(what: str, error: Exception, hint: str = "", advice: Mapping[str, str] | None = None) -> LlmopsError:
    """The error to raise where AWS did not do `what`: `error` is botocore's.

    `hint` is said whatever the code is, `advice` by code instead of the general one.
    """
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return LlmopsError(f"{what}: AWS cannot be reached ({error}); check network and AWS_REGION, and sign in or set AWS_PROFILE")
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    known = {**ADVICE, **(advice or {})}.get(code, "")
    return LlmopsError(f"{what}: {code}: {message}; {'; '.join(part for part in (hint, known) if part) or 'see the message'}")
