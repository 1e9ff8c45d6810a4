"""`llmops-serve run`: what stops it before it serves, and a real process from start to drain."""

import json
import multiprocessing
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from llmops_serve.cli import main
from llmops_serve.server_process import free_port
from llmops_shared.contracts import Exchange


@pytest.fixture
def copied(packages, endpoint, tmp_path):
    """The endpoint and its packages, to be damaged."""
    for name in ("first", "second", "endpoint-1", "endpoint-2"):
        shutil.copytree(packages / name, tmp_path / name)
    return tmp_path


def run(folder, *words):
    return main(["run", f"endpoint={folder / 'endpoint-2'}", "port=0", *words])


def test_a_port_in_use_is_told_before_anything_is_loaded(endpoint, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        started = time.monotonic()

        code = main(["run", f"endpoint={endpoint}", f"port={port}"])

    assert code == 2
    assert (
        f"127.0.0.1:{port}: cannot be listened on (Address already in use); stop what uses it, or choose another port="
        in capsys.readouterr().err
    )
    assert time.monotonic() - started < 5


def test_an_endpoint_that_is_missing_is_named(tmp_path, capsys):
    assert run(tmp_path) == 2
    assert f"{tmp_path}/endpoint-2/endpoint.json: there is no such Endpoint" in capsys.readouterr().err


def test_a_package_that_was_changed_is_refused(copied, capsys):
    place = copied / "first" / "package.json"
    place.write_text(place.read_text().replace('"name": "first"', '"name": "other"'))

    assert run(copied) == 2
    assert "first/package.json: changed since it was referred to" in capsys.readouterr().err


def test_weights_that_were_changed_are_refused(copied, capsys):
    place = copied / "second" / "model" / "model.safetensors"
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)

    assert run(copied) == 2
    assert "second/model/model.safetensors: is damaged" in capsys.readouterr().err


def test_a_package_without_its_weights_is_refused(copied, capsys):
    (copied / "second" / "model" / "model.safetensors").unlink()

    assert run(copied) == 2
    assert "model.safetensors: there is no such file" in capsys.readouterr().err


def test_limits_above_the_models_window_are_refused(endpoint, capsys):
    assert main(["run", f"endpoint={endpoint}", "port=0", "max_total_tokens=1000"]) == 2
    assert "max_total_tokens 1000" in capsys.readouterr().err
    assert main(["run", f"endpoint={endpoint}", "port=0", "max_input_tokens=256"]) == 2
    assert "max_input_tokens 256: must be below max_total_tokens (256)" in capsys.readouterr().err


def test_pickles_in_a_package_are_refused(packages, tmp_path, capsys):
    from llmops_serve.deploy import deploy
    from llmops_serve.document_config import DeployConfig
    from support.tiny_package import package_folder

    shutil.copytree(packages / "first", tmp_path / "package")
    (tmp_path / "package" / "model" / "extra.bin").write_bytes(b"\x80")
    package_folder(tmp_path / "package", "pickled", "LlamaForCausalLM", 1, 256)
    deploy(DeployConfig(name="x", package=str(tmp_path / "package"), out=str(tmp_path / "endpoint-2")))

    assert run(tmp_path) == 2
    assert "holds model/extra.bin, which can run code when loaded" in capsys.readouterr().err


@pytest.mark.slow
def test_a_server_from_start_to_drain(copied):
    """Real processes: ready line, answers, SIGTERM with a stream under way, everything in the log, exit code 0."""
    port = free_port()
    endpoint = copied / "endpoint-2"
    document = json.loads((endpoint / "endpoint.json").read_text())
    document["capture"]["uri"] = "../log"
    (endpoint / "endpoint.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "llmops_serve.cli", "run", f"endpoint={endpoint}", f"port={port}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "ready on" in line:
                break
        assert f"ready on http://127.0.0.1:{port} (start took" in lines[-1]

        chat = {"messages": [{"role": "user", "content": "What?"}], "max_tokens": 200, "temperature": 0, "stream": True}
        answers, begun = [], threading.Barrier(5)

        def ask():
            with httpx.stream("POST", f"http://127.0.0.1:{port}/v1/chat/completions", json=chat, timeout=60) as response:
                lines = response.iter_lines()
                first = next(lines)
                begun.wait(60)
                answers.append("\n".join([first, *lines]))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        begun.wait(60)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        rest = process.stderr.read()
        code = process.wait(60)
    finally:
        process.kill()
        process.stderr.close()

    assert code == 0, rest
    assert len(answers) == 4
    assert all(answer.rstrip().endswith("data: [DONE]") for answer in answers)
    assert len({text_of(answer) for answer in answers}) == 1
    assert "draining" in rest
    assert "kept 8 exchanges" in rest
    log = [Exchange.model_validate_json(line) for file in (copied / "log").rglob("*.jsonl") for line in file.read_text().splitlines()]
    assert sorted(exchange.variant for exchange in log) == ["production"] * 4 + ["shadow"] * 4


def text_of(answer):
    events = [json.loads(line.removeprefix("data: ")) for line in answer.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"]["content"] for event in events for choice in event["choices"])


def test_a_model_that_dies_is_seen_and_does_not_hang_its_clients(endpoint):
    from llmops_serve.config import RunConfig
    from llmops_serve.server import realized
    from support.serving import serving

    config = RunConfig(endpoint=str(endpoint), port=0, drain_timeout_s=1)
    others = {process.pid for process in multiprocessing.active_children()}
    with serving(lambda: realized(config), config) as url:
        models = {process.name: process for process in multiprocessing.active_children() if process.pid not in others}
        model = models["model-production"]
        model.kill()
        model.join()
        answer = httpx.post(f"{url}/generate", json={"inputs": "a"}, timeout=10)
        health = httpx.get(f"{url}/health", timeout=10)

    assert set(models) == {"model-production", "model-shadow"}
    assert (answer.status_code, answer.json()["error_type"]) == (424, "generation")
    assert (health.status_code, health.json()["error_type"]) == (503, "healthcheck")
