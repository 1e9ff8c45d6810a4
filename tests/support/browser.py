"""A headless Chromium driven over its DevTools protocol: real key events, the page's real script."""

import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from support.tools import lacking

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--disable-quic", "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip
KEYS = {"Enter": ("\r", 13), "Escape": ("", 27), "Tab": ("", 9)}


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._ids = socket, itertools.count(1)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One DevTools command and its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=30))
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str) -> None:
        """Loads a page."""
        self.call("Page.enable")
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def script(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, condition: str, limit_s: float = 20) -> None:
        """Returns when a JavaScript expression holds."""
        deadline = time.monotonic() + limit_s
        while not self.script(condition):
            assert time.monotonic() < deadline, f"{condition} did not come true; the page says: {self.script('document.body.innerText')}"
            time.sleep(0.01)

    def press(self, key: str, ctrl: bool = False) -> None:
        """A key going down and up, as from a keyboard."""
        text, code = KEYS.get(key, (key, ord(key[0].upper())))
        event = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 2 if ctrl else 0}
        typed = {"text": text} if text and not ctrl else {}
        self.call("Input.dispatchKeyEvent", type="keyDown" if typed else "rawKeyDown", **event, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text: str) -> None:
        """Keys one after another."""
        for sign in text:
            self.press(sign)


@contextmanager
def browser() -> Iterator[Page]:
    """A fresh tab of a fresh profile; skips where there is no Chromium."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        lacking("Chromium", "Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        command = [str(program), *QUIET, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(tab_of(Path(profile)), max_size=None, proxy=None) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait(timeout=20)
            time.sleep(0.2)  # its children still write into the profile for a moment


def tab_of(profile: Path, limit_s: float = 30) -> str:
    """The tab's WebSocket, once Chromium has written the port it listens on."""
    import urllib.request

    place, deadline = profile / "DevToolsActivePort", time.monotonic() + limit_s
    while True:
        try:
            port = place.read_text().splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                return str(next(tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page"))
        except (OSError, IndexError, StopIteration):
            assert time.monotonic() < deadline, "Chromium did not start"
            time.sleep(0.05)
