"""The review page's server: shows a person one blind item after another and keeps the answers."""

import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from llmops_shared.contracts.document import Value
from llmops_shared.contracts.review import TIE, ReviewAnswer, ReviewItem
from llmops_shared.errors import LlmopsError
from llmops_shared.review.agreement import krippendorff_alpha
from llmops_shared.review.items import shown_order
from llmops_shared.review.sqlite import SqliteQueue

FOLDER = Path(__file__).parent
HEADERS = {
    # no markup of an answer could load or send anything, even if it became markup
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Ask(Value):
    """What the page sends."""

    reviewer: str = Field(min_length=1, max_length=120)
    """Who answers."""
    skipped: list[str] = Field(default=[], max_length=10_000)
    """Items to leave for later."""
    item_id: str | None = None
    """The item that is answered."""
    choice: int | None = Field(default=None, ge=0)
    """Place of the choice among those shown."""
    correction: str | None = Field(default=None, max_length=100_000)
    """A better answer."""
    duration_s: float | None = Field(default=None, ge=0)
    """Seconds it took."""


def make_app(queue: SqliteQueue, key: str | None) -> Starlette:
    """The app; without a key it answers only requests whose Host is this machine's own, so that no other site's page can ask it."""

    def page(name: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return FileResponse(FOLDER / name, headers=HEADERS)

        return answer

    def handle(act: Callable[[SqliteQueue, Ask], None]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if refused := refusal(request, key):
                return JSONResponse({"error": refused}, 403, HEADERS)
            try:
                ask = Ask.model_validate_json(await request.body())
                act(queue, ask)
                return JSONResponse(state(queue, ask), headers=HEADERS)
            except ValidationError as error:
                fields = ", ".join(".".join(map(str, item["loc"])) or "body" for item in error.errors())
                return JSONResponse({"error": f"not understood: {fields}"}, 422, HEADERS)
            except LlmopsError as error:
                return JSONResponse({"error": str(error)}, 409, HEADERS)

        return answer

    acts = {"next": lambda queue, ask: None, "answer": record, "undo": undo}
    routes = [Route("/", page("page.html")), Route("/page.js", page("page.js")), Route("/page.css", page("page.css"))]
    return Starlette(routes=[*routes, *(Route(f"/{name}", handle(act), methods=["POST"]) for name, act in acts.items())])


def refusal(request: Request, key: str | None) -> str | None:
    """Why a request is not served; None when it is."""
    # a form of another site cannot send this type without asking first (CORS)
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return "send application/json"
    if key is not None:
        return None if hmac.compare_digest(request.headers.get("x-review-key", "").encode(), key.encode()) else "the key is wrong"
    return None if is_loopback(request.url.hostname or "") else "ask this machine by a loopback address"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def record(queue: SqliteQueue, ask: Ask) -> None:
    """Keeps an answer under the name of the candidate that was chosen, whatever place it was shown in."""
    item = queue.item(ask.item_id or "")
    labels = labels_shown(item, ask.reviewer)
    if ask.choice is None or ask.choice >= len(labels):
        raise LlmopsError(f"choice must be below {len(labels)}")
    first = shown_order(item, ask.reviewer)[0].name if item.kind == "side_by_side" else None
    answer = ReviewAnswer(
        item_id=item.item_id,
        reviewer=ask.reviewer,
        label=labels[ask.choice],
        time=datetime.now(UTC),
        first_shown=first,
        correction=ask.correction,
        duration_s=ask.duration_s,
    )
    queue.record(answer)


def undo(queue: SqliteQueue, ask: Ask) -> None:
    """Takes back the person's last answer."""
    last = queue.last_answered(ask.reviewer)
    if last is None:
        raise LlmopsError("there is no answer of yours to take back")
    queue.withdraw(last, ask.reviewer)


def state(queue: SqliteQueue, ask: Ask) -> dict[str, Any]:
    """The next item as the person may see it, and how far the review is."""
    skipped = set(ask.skipped)
    waiting = queue.pending(ask.reviewer, limit=len(skipped) + 1)
    # when all that is left was skipped, the skipped come back
    item = next((item for item in waiting if item.item_id not in skipped), waiting[0] if waiting else None)
    labels = queue.labels()
    return {
        "item": None if item is None else blind(item, ask.reviewer),
        "num_items": queue.count(),
        "num_answered": queue.num_answered(ask.reviewer),
        "num_shared": sum(len(unit) > 1 for unit in labels),
        "alpha": krippendorff_alpha(labels),
    }


def blind(item: ReviewItem, reviewer: str) -> dict[str, Any]:
    """What a person sees: no names, no judge, no reason why it is here."""
    shown = [candidate.response for candidate in shown_order(item, reviewer)]
    choices = ["First is better", "Second is better", "Equally good"] if item.kind == "side_by_side" else item.labels
    messages = [json.loads(message.model_dump_json()) for message in item.messages]
    return {
        "item_id": item.item_id,
        "question": item.question,
        "messages": messages,
        "responses": shown,
        "choices": choices,
        "reference": item.reference,
    }


def labels_shown(item: ReviewItem, reviewer: str) -> list[str]:
    """The label behind each choice, in the order shown."""
    if item.kind == "label":
        return item.labels
    return [*(candidate.name for candidate in shown_order(item, reviewer)), TIE]
