import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from llmops_monitor.cli import main
from llmops_monitor.review.app import make_app
from llmops_monitor.review.serve import check_reach
from llmops_shared.contracts.exchange import Message
from llmops_shared.contracts.review import ReviewItem
from llmops_shared.errors import LlmopsError
from llmops_shared.review.items import shown_order, side_by_side, single_label
from llmops_shared.review.sqlite import SqliteQueue
from support.browser import Page, browser

KEY = "k3y-0f-A-str0ng-kind-98765"


def pairs(number: int) -> list[ReviewItem]:
    return [
        side_by_side(
            [Message(role="user", content=f"Question {index}?")],
            {"production": f"<b>plain</b> {index}", "shadow": f"better {index}"},
            "uncertainty",
            judge_label="shadow",
            metadata={"request_id": f"secret-{index}"},
        )
        for index in range(number)
    ]


@contextmanager
def served(queue: SqliteQueue, key: str | None = None) -> Iterator[str]:
    """The page on a free loopback port."""
    server = uvicorn.Server(uvicorn.Config(make_app(queue, key), host="127.0.0.1", port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def post(url: str, body: object, **headers: str) -> tuple[int, dict[str, Any]]:
    sent = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), sent), timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture
def queue(tmp_path: Path) -> SqliteQueue:
    return SqliteQueue(str(tmp_path / "review.db"))


def begin(page: Page, url: str, name: str) -> None:
    page.open(url)
    page.wait("document.activeElement.id === 'reviewer'")
    page.type(name)
    page.press("Enter")
    page.wait("!document.getElementById('item').hidden || !document.getElementById('done').hidden")


def choose(page: Page, key: str, num_answered: int) -> None:
    page.press(key)
    page.wait(f"document.getElementById('progress').textContent.startsWith('{num_answered} answered')")


@pytest.mark.slow
def test_a_person_labels_a_hundred_items_without_a_mouse(queue: SqliteQueue) -> None:
    items = [*pairs(99), single_label([Message(role="user", content="Who?")], "production", "Nobody.", "random")]
    queue.add(items)

    with served(queue) as url, browser() as page:
        begin(page, url, "Ada")
        for number, item in enumerate(items):
            page.wait(f"document.getElementById('conversation').textContent.includes({json.dumps(item.messages[0].content)})")
            first = shown_order(item, "Ada")[0].name if item.kind == "side_by_side" else ""
            choose(page, "1" if first in ("shadow", "") else "2", number + 1)  # the better one, wherever it is
        assert page.script("!document.getElementById('done').hidden")

    reviewed = queue.reviewed()
    assert [item.item_id for item, _ in reviewed] == [item.item_id for item in items]
    assert {answers[0].label for _, answers in reviewed[:99]} == {"shadow"}
    assert reviewed[99].answers[0].label == "good"
    shown_first = [answers[0].first_shown for _, answers in reviewed[:99]]
    assert 30 < shown_first.count("shadow") < 70
    assert all(0 < (answers[0].duration_s or 0) < 60 for _, answers in reviewed)


@pytest.mark.slow
def test_undo_skip_and_a_better_answer_by_keys_and_markup_stays_text(queue: SqliteQueue) -> None:
    items = pairs(3)
    queue.add(items)

    with served(queue) as url, browser() as page:
        begin(page, url, "Bo")
        assert page.script("document.querySelector('.candidate b + pre').textContent.length") > 5
        assert page.script("document.querySelectorAll('.candidate pre b').length") == 0  # `<b>` of an answer is shown, not obeyed
        choose(page, "3", 1)
        page.press("u")
        page.wait("document.getElementById('progress').textContent.startsWith('0 answered')")
        page.press("s")
        page.wait("document.getElementById('conversation').textContent.includes('Question 1')")
        page.press("e")
        page.wait("document.activeElement.id === 'correction'")
        page.script("document.getElementById('correction').value = ''")
        page.type("1 is the number 2")  # digits are text here, not choices
        page.press("Enter", ctrl=True)
        page.wait("!document.getElementById('kept').hidden")
        choose(page, "2", 1)
        page.wait("document.getElementById('conversation').textContent.includes('Question 2')")
        choose(page, "1", 2)
        page.wait("document.getElementById('conversation').textContent.includes('Question 0')")  # what was skipped comes back

    answers = {item.item_id: found[0] for item, found in queue.reviewed()}
    assert answers.keys() == {items[1].item_id, items[2].item_id}
    assert answers[items[1].item_id].correction == "1 is the number 2"
    assert answers[items[1].item_id].label == shown_order(items[1], "Bo")[1].name


def test_what_the_page_gets_is_blind_and_agreement_is_told(queue: SqliteQueue) -> None:
    items = pairs(4)
    queue.add(items)

    with served(queue) as url:
        told = ""
        for reviewer in ("ada", "bo"):
            for item in items[:3]:
                place = [candidate.name for candidate in shown_order(item, reviewer)].index("shadow")
                choice = 2 if (reviewer, item) == ("bo", items[0]) else place
                status, state = post(f"{url}/answer", {"reviewer": reviewer, "item_id": item.item_id, "choice": choice})
                told += json.dumps(state["item"])
                assert status == 200
        assert post(f"{url}/undo", {"reviewer": "eve"}) == (409, {"error": "there is no answer of yours to take back"})

    assert not [word for word in ("production", "shadow", "uncertainty", "secret-", "judge") if word in told]
    assert state["num_answered"] == 3 and state["num_items"] == 4 and state["num_shared"] == 3
    assert state["alpha"] == pytest.approx(0.0)  # shadow-tie, shadow-shadow, shadow-shadow: 1 - 5 * 2 / (6^2 - 5^2 - 1)
    labels = [[answer.label for answer in answers] for _, answers in queue.reviewed()]
    assert labels == [["shadow", "tie"], ["shadow", "shadow"], ["shadow", "shadow"]]


def test_only_this_machine_or_a_strong_key_gets_in(queue: SqliteQueue) -> None:
    queue.add(pairs(1))
    body = {"reviewer": "ada"}

    with served(queue) as url:
        assert post(f"{url}/next", body)[0] == 200
        assert post(f"{url}/next", body, host="evil.example")[0] == 403  # a page of another site that resolves to this machine
        assert post(f"{url}/next", body, content_type="text/plain")[0] == 403  # what a form of another site can send
        assert post(f"{url}/answer", {"reviewer": "ada", "item_id": pairs(1)[0].item_id, "choice": 7})[0] == 409
        assert post(f"{url}/answer", {"reviewer": "", "surprise": 1})[0] == 422
        with urllib.request.urlopen(url, timeout=10) as page:
            assert "default-src 'none'" in page.headers["content-security-policy"]
    with served(queue, KEY) as url:
        assert post(f"{url}/next", body)[0] == 403
        assert post(f"{url}/next", body, x_review_key=KEY[:-1])[0] == 403
        assert post(f"{url}/next", body, x_review_key=KEY, host="review.example")[0] == 200


@pytest.mark.parametrize(
    ("host", "key", "told"),
    [
        ("0.0.0.0", None, "others could read the prompts"),
        ("127.0.0.1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "is weak"),
        ("10.0.0.7", "short", "is weak"),
    ],
)
def test_an_open_door_is_refused(host: str, key: str | None, told: str) -> None:
    with pytest.raises(LlmopsError, match=told):
        check_reach(host, key)
    check_reach("127.0.0.1", None)
    check_reach("0.0.0.0", KEY)


def test_a_queue_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", f"queue={tmp_path / 'none.db'}"]) == 2
    assert "there is no such review queue" in capsys.readouterr().err
