"""Settings of `llmops-monitor why`."""

from pydantic import Field

from llmops_shared.config import Config


class WhyConfig(Config):
    """From an answer back to the documents it came from."""

    request_id: str = Field(min_length=1)
    """Id of the request, as the client got it in `x-request-id`, or in SageMaker's capture the inference id that the client gave (else
    the event id); may be given as a bare word."""
    endpoint: str = Field(min_length=1)
    """Endpoint document, or its folder: the generation that answered, or any later one."""
    exchanges: str | None = Field(default=None)
    """Folder of the exchange log, where it is not the endpoint's own."""
