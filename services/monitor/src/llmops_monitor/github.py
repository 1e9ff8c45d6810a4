"""GitHub: the repository_dispatch event that starts a workflow (docs.github.com/rest/repos/repos#create-a-repository-dispatch-event)."""

import json
import urllib.error
import urllib.request
from typing import Any

from llmops_shared.errors import LlmopsError

API = "https://api.github.com"
EVENT_TYPE = "retrain"
TIMEOUT_S = 30


def dispatch_request(repository: str, payload: dict[str, Any], api: str = API) -> dict[str, Any]:
    """Method, URL, headers and body, the token left out. GitHub takes at most ten keys at the top of `client_payload`."""
    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28", "Content-Type": "application/json"}
    body = {"event_type": EVENT_TYPE, "client_payload": payload}
    return {"method": "POST", "url": f"{api}/repos/{repository}/dispatches", "headers": headers, "body": body}


def dispatch(request: dict[str, Any], token: str) -> None:
    """Sends it. Raises LlmopsError unless GitHub answers 204."""
    headers = {**request["headers"], "Authorization": f"Bearer {token}"}
    call = urllib.request.Request(request["url"], json.dumps(request["body"]).encode(), headers, method=request["method"])
    try:
        with urllib.request.urlopen(call, timeout=TIMEOUT_S) as answer:
            if answer.status != 204:
                raise LlmopsError(f"{request['url']}: answered {answer.status} where GitHub answers 204")
    except urllib.error.HTTPError as error:
        hint = "; the token needs write access to the repository's contents" if error.code in (401, 403, 404) else ""
        raise LlmopsError(f"{request['url']}: GitHub answered {error.code} {error.reason}{hint}") from error
    except OSError as error:
        raise LlmopsError(f"{request['url']}: cannot be reached ({error})") from error
