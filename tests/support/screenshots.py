"""Makes the pictures of the README from a finished loop, in headless Chromium: `make screenshots`.

Needs Chromium (Debian: `apt-get install chromium`) and a finished `make run`.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from llmops_shared.comparison import page
from llmops_shared.tracking import connect

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / ".github" / "images"


def main() -> int:
    """Writes both pictures; 2 when a tool or the loop is missing."""
    work = REPOSITORY / os.environ.get("WORK", "build/loop")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None or not (work / "mlflow.db").exists():
        sys.stderr.write("screenshots need Chromium on the PATH and a finished `make run`\n")
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    capture(browser, (work / "shadow-report" / "report.html").as_uri(), FOLDER / "report.png", "1000,1000")
    tracking_uri = f"sqlite:///{work}/mlflow.db"
    port = free_port()
    server = subprocess.Popen(["mlflow", "ui", "--backend-store-uri", tracking_uri, "--host", "127.0.0.1", "--port", str(port)])
    try:
        wait_for(f"http://127.0.0.1:{port}/health", limit_s=120)
        experiment = connect(tracking_uri).get_experiment_by_name("stdlib-assistant").experiment_id
        capture(browser, page(f"http://127.0.0.1:{port}", experiment), FOLDER / "mlflow.png", "1650,1600")
    finally:
        server.terminate()
        server.wait()
    return 0


def capture(browser: str, url: str, picture: Path, size: str) -> None:
    """One picture. Background networking is off: the page is all there is to load."""
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic"]
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *quiet, f"--user-data-dir={profile}"]
        page = [f"--window-size={size}", "--virtual-time-budget=30000", f"--screenshot={picture}", url]
        subprocess.run([*command, *page], check=True, stderr=subprocess.DEVNULL, timeout=120)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, limit_s: float) -> None:
    """Returns when the URL answers."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
