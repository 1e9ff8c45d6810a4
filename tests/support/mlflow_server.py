"""MLflow's own server over a database, and a way to it that can be closed."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def mlflow_server(folder: Path) -> Iterator[int]:
    """Port of a server that keeps everything below a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_it_answers(port, process)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 500
    while time.monotonic() < deadline:
        assert process.poll() is None
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the server of MLflow does not start")


class Way:
    """The way to the server: open, closed, or one on which answers are lost."""

    def __init__(self, port: int) -> None:
        self.state = "open"
        self.lost = 0
        way = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if way.state == "closed":
                    self.close_connection = True
                    return
                onward = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
                onward.request(self.command, self.path, body, {**dict(self.headers), "host": f"127.0.0.1:{port}"})
                answer = onward.getresponse()
                content = answer.read()
                onward.close()
                if way.state == "lossy" and self.command == "POST":
                    way.lost += 1
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                self.send_header("content-type", answer.getheader("content-type", "application/json"))
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = forward  # noqa: N815 - names of the standard library

            def log_message(self, *arguments: object) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
