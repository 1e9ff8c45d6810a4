"""A server for the time of a job: `llmops-serve run` as a process of its own."""

import contextlib
import logging
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 300
STOP_TIMEOUT_S = 180  # two drain times of the server and a margin
PROGRESS_EVERY_S = 10


@contextlib.contextmanager
def running_server(endpoint: str, threads: int) -> Iterator[str]:
    """The URL of a server for an Endpoint document. It is stopped at the end, when all exchanges are in its log.

    Raises LlmopsError when the server does not start, or does not end by itself.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "llmops_serve.cli", "run", f"endpoint={endpoint}", f"port={port}", f"threads={threads}"]
    logger.info("starting a server for %s", endpoint)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # its log joins ours on stderr
    try:
        wait_until_healthy(process, url)
        yield url
        stop(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_healthy(process: "subprocess.Popen[bytes]", url: str) -> None:
    """Returns when `/health` answers 200. Raises LlmopsError when the process ends or the time is up."""
    started = told = time.monotonic()
    while not is_healthy(url):
        if process.poll() is not None:
            raise LlmopsError(f"the server ended with exit code {process.returncode} before it was ready; its message is above")
        now = time.monotonic()
        if now - started > START_TIMEOUT_S:
            raise LlmopsError(f"the server was not ready after {START_TIMEOUT_S} s; its log is above")
        if now - told > PROGRESS_EVERY_S:
            told = now
            logger.info("waiting for the server, %.0f s", now - started)
        time.sleep(0.1)


def is_healthy(url: str) -> bool:
    """Whether the server answers and can serve."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Asks the server to end and waits until it has written everything. Raises LlmopsError when something was lost."""
    process.terminate()
    try:
        code = process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise LlmopsError(f"the server did not end within {STOP_TIMEOUT_S} s; its log is above, run the same command again") from error
    if code != 0:
        raise LlmopsError(f"the server ended with exit code {code}, so its exchange log may lack lines; its message is above")
