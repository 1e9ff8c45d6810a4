"""`llmops-monitor review`: serves the page until it is stopped."""

import logging

import uvicorn

from llmops_monitor.review.app import is_loopback, make_app
from llmops_monitor.review_config import ReviewConfig
from llmops_shared.errors import LlmopsError
from llmops_shared.review.sqlite import SqliteQueue

logger = logging.getLogger(__name__)

MIN_KEY_LENGTH = 24
MIN_KEY_SIGNS = 10


def run(config: ReviewConfig, key: str | None = None) -> None:
    """Serves; `key` is what a page has to send, needed where others can reach the server. Raises LlmopsError without a strong one."""
    queue = SqliteQueue(config.queue, config.answers_per_item)
    num_items = queue.count()
    check_reach(config.host, key)
    logger.info("%d items in %s; open http://%s:%d/%s", num_items, config.queue, config.host, config.port, "#key=..." if key else "")
    uvicorn.run(make_app(queue, key), host=config.host, port=config.port, log_level="warning", access_log=False)


def check_reach(host: str, key: str | None) -> None:
    """Prompts and answers are shown to whoever reaches the page: beyond this machine only behind a key nobody guesses."""
    if key is not None and (len(key) < MIN_KEY_LENGTH or len(set(key)) < MIN_KEY_SIGNS):
        raise LlmopsError(
            f"LLMOPS_REVIEW_KEY is weak: it needs {MIN_KEY_LENGTH} signs, {MIN_KEY_SIGNS} of them different; "
            "make one with `openssl rand -hex 24`"
        )
    if key is None and not is_loopback(host):
        raise LlmopsError(
            f"host={host}: others could read the prompts; keep 127.0.0.1, or set LLMOPS_REVIEW_KEY to a strong key and put TLS in front"
        )
