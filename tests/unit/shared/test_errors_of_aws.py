"""Errors of AWS, whatever service they come from: one message, and the next thing to do."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from llmops_shared.aws_errors import refused


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("ThrottlingException", "the same command again in a minute"),
        ("ResourceLimitExceeded", "ask Service Quotas"),
        ("AccessDeniedException", "use a role that may"),
        ("ExpiredTokenException", "sign in again"),
        ("Surprise", "look at the region"),
    ],
)
def test_each_says_what_to_do(code: str, advice: str) -> None:
    error = ClientError({"Error": {"Code": code, "Message": "no"}}, "StartIt")

    told = str(refused("job x", error, "look at the region"))

    assert told.startswith(f"job x: {code}: no; ") and advice in told


def test_a_caller_knows_better_and_a_service_that_is_away_is_told_as_such() -> None:
    missing = ClientError({"Error": {"Code": "ResourceNotFound", "Message": "no pipeline"}}, "StartIt")
    away = EndpointConnectionError(endpoint_url="https://x.example")

    assert str(refused("p", missing, advice={"ResourceNotFound": "apply the platform"})).endswith("apply the platform")
    assert "AWS cannot be reached" in str(refused("p", away)) and "AWS_PROFILE" in str(refused("p", away))
