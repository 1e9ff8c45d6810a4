"""The engine `spark` on a real standalone cluster: a master and two workers on loopback."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from support.tools import lacking

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture
def cluster(tmp_path):
    """The master's URI and the processes of its workers."""
    if shutil.which("java") is None:
        lacking("Java 17", "apt install openjdk-17-jre-headless")
    pyspark = pytest.importorskip("pyspark") if not os.environ.get("LLMOPS_REQUIRE_TOOLS") else __import__("pyspark")
    home = Path(pyspark.__file__).parent
    environment = {
        **os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_HOSTNAME": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable, "SPARK_DAEMON_MEMORY": "256m",
    }  # fmt: skip
    port, page = free_port(), free_port()
    running = []

    def start(*words):
        with (tmp_path / f"spark-{len(running)}.log").open("wb") as log:
            running.append(
                subprocess.Popen([str(home / "bin" / "spark-class"), *words], env=environment, cwd=tmp_path, stdout=log, stderr=log)
            )
        return running[-1]

    master = "org.apache.spark.deploy.master.Master"
    start(master, "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page))
    workers = [
        start(
            "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--webui-port", str(free_port()), "--cores", "1", "--memory", "1g",
            "--work-dir", str(tmp_path / f"work{number}"), f"spark://127.0.0.1:{port}",
        )
        for number in range(2)
    ]  # fmt: skip
    deadline = time.monotonic() + 300
    while alive_workers(page) < 2:
        assert time.monotonic() < deadline, (tmp_path / "spark-1.log").read_text()
        time.sleep(0.5)
    yield f"spark://127.0.0.1:{port}", workers
    for process in running:
        process.kill()
        process.wait()


def alive_workers(page):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{page}/json/", timeout=2) as answer:
            return json.load(answer)["aliveworkers"]
    except OSError:
        return 0


def command(folder, out, *words):
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"}
    return subprocess.Popen(
        [
            sys.executable, "-m", "llmops_preprocess.cli", "run", "name=web", f"out={folder / out}", "source.kind=jsonl",
            f"source.uri={folder / 'raw.jsonl'}", "vocab_size=400", "language.code=null", "pii.action=mask", "slice_bytes=20000", *words,
        ],
        env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_cluster_makes_the_same_manifest_as_this_machine_even_when_it_loses_a_worker(tmp_path, paragraphs, write_lines, cluster):
    master, workers = cluster
    texts = [f"{text} Call +1 415 555 {number:04d} in round {turn}." for turn in range(8) for number, text in enumerate(paragraphs)]
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": text} for text in texts])
    local = command(tmp_path, "local")
    _, log = local.communicate()
    assert local.returncode == 0, log
    spark = ["engine=spark", f"spark.master={master}", "spark.settings={spark.executor.memory: 512m, spark.driver.host: 127.0.0.1}"]

    whole = command(tmp_path, "whole", *spark)
    _, log = whole.communicate()
    assert whole.returncode == 0, log[-3000:]

    broken = command(tmp_path, "broken", *spark)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "broken").glob("parts/*/*.json")):
        assert time.monotonic() < deadline
        assert broken.poll() is None, broken.communicate()
        time.sleep(0.01)
    workers[0].kill()  # its executor follows it
    in_the_middle = broken.poll() is None and not (tmp_path / "broken" / "dataset.json").exists()
    _, log = broken.communicate()
    assert broken.returncode == 0, log[-3000:]

    expected = (tmp_path / "local" / "dataset.json").read_bytes()
    assert (tmp_path / "whole" / "dataset.json").read_bytes() == expected
    assert (tmp_path / "broken" / "dataset.json").read_bytes() == expected
    assert in_the_middle
