"""What a server of `llmops-serve run` says it runs."""

import json
import urllib.error
import urllib.request
from typing import Any

from llmops_shared.contracts import Endpoint
from llmops_shared.errors import LlmopsError


def server_differences(url: str, endpoint: Endpoint, digest: str, timeout_s: float) -> list[str]:
    """Where the server at the URL differs from the document, in words. Raises LlmopsError when there is no such server."""
    told = info(url, timeout_s)
    differences = []
    if told.get("model_id") != endpoint.name:
        differences.append(f"{url} serves endpoint {told.get('model_id')}, the document is of {endpoint.name}.")
    if told.get("sha") != digest:
        runs, wanted = str(told.get("sha"))[:12], digest[:12]
        differences.append(f"{url} runs another document (sha256 {runs}, expected {wanted}: generation {endpoint.generation}).")
    if not is_healthy(url, timeout_s):
        differences.append(f"{url} is not healthy: a production variant cannot answer.")
    return differences


def info(url: str, timeout_s: float) -> dict[str, Any]:
    """The server's `/info`."""
    try:
        with urllib.request.urlopen(f"{url}/info", timeout=timeout_s) as response:
            told = json.load(response)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise LlmopsError(f"{url}/info: cannot be read ({error}); start the server, or correct url=") from error
    if not isinstance(told, dict) or told.get("router") != "llmops-serve":
        raise LlmopsError(f"{url}: is no server of llmops-serve run; correct url=")
    return told


def is_healthy(url: str, timeout_s: float) -> bool:
    """Whether it can answer."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
