"""Logging: lines on stderr, for people or, with `--log-json`, for machines. Only rank 0 speaks."""

import json
import logging
import sys
import time
from typing import TextIO


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at the time, also where a caller of `main(argv)` has put another in its place."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        return None


class JsonFormatter(logging.Formatter):
    """One JSON object a line, as CloudWatch Logs Insights parses it."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(as_json: bool, rank: int) -> None:
    """Sends our log to stderr. Third-party loggers keep to warnings; ranks above 0 to errors."""
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("llmops_shared", "llmops_preprocess", "llmops_train", "llmops_serve", "llmops_monitor", "llmops_infra", "llmops_offline"):
        logging.getLogger(name).setLevel(logging.INFO if rank == 0 else logging.ERROR)
