"""The in-process engine against transformers' `generate`, one prompt after another: tokens a CPU second, and time to the first token.

    python tests/benchmarks/bench_serve_engine.py [MODEL_DIRECTORY] [--url URL]

Without a directory a random Llama of 14 million parameters is made. Both sides run in this process with one thread and take turns,
so that a busy machine slows both. With `--url` a running OpenAI server (vLLM, TGI, llmops-serve run) is measured as well.
"""

import argparse
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx
import torch

from llmops_serve.engines.batches import Batches
from llmops_serve.engines.engine import Sampling
from llmops_serve.engines.load import load_model
from llmops_serve.engines.messages import WorkerSettings
from llmops_serve.engines.row import Row

NUM_TOKENS = 64
CLIENTS = (1, 8, 32)
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--url")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.model or make_model(Path(scratch))
        compare(folder)
    if arguments.url:
        for clients in CLIENTS:
            rate, first = over_http(arguments.url, clients)
            print(f"{arguments.url} C={clients}: {rate:.0f} tokens/s, first token p50 {first:.0f} ms")


def make_model(folder: Path) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 7, "num_attention_heads": 6, "num_key_value_heads": 6}
    config = LlamaConfig(vocab_size=4096, max_position_embeddings=1024, bos_token_id=None, eos_token_id=None, pad_token_id=0, **shape)
    LlamaForCausalLM(config).save_pretrained(str(folder))
    return folder


def compare(folder: Path) -> None:
    """Rounds of both sides in turns; the greedy answers have to be equal."""
    alone = load_model(folder)
    settings = WorkerSettings(folder, None, threads=1, max_batch_size=32, max_total_tokens=min(512, alone.config.max_position_embeddings))
    batches = Batches(settings, load_model(folder))
    picker = random.Random(0)
    vocabulary = alone.config.vocab_size
    prompts = [[picker.randrange(3, vocabulary) for _ in range(picker.randint(16, 64))] for _ in range(max(CLIENTS))]
    print(f"{alone.num_parameters() / 1e6:.1f}M parameters, {NUM_TOKENS} tokens an answer, prompts of 16 to 64 tokens, 1 thread")
    base: list[float] = []
    rates: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    firsts: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    for _ in range(ROUNDS):
        expected, rate = one_by_one(alone, prompts[:4])
        base.append(rate)
        for clients in CLIENTS:
            found, rate, first = together(batches, prompts[:clients])
            assert found[:4] == expected[: min(4, clients)], "greedy answers differ"
            rates[clients].append(rate)
            firsts[clients].append(first)
    print(f"generate, one at a time: {statistics.median(base):.0f} tokens/s of CPU")
    for clients in CLIENTS:
        ratio = statistics.median(rate / alone for rate, alone in zip(rates[clients], base, strict=True))
        first = statistics.median(firsts[clients])
        print(
            f"engine C={clients}: {statistics.median(rates[clients]):.0f} tokens/s, {ratio:.1f}x, first token of the last client {first:.0f} ms"
        )


def one_by_one(model, prompts):  # type: ignore[no-untyped-def]
    """(answers, tokens a CPU second)."""
    started, answers = time.process_time(), []
    with torch.inference_mode():
        for prompt in prompts:
            ids = torch.tensor([prompt])
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=NUM_TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0
            )
            answers.append(out[0, len(prompt) :].tolist())
    return answers, len(prompts) * NUM_TOKENS / (time.process_time() - started)


def together(batches, prompts):  # type: ignore[no-untyped-def]
    """(answers, tokens a CPU second, milliseconds of CPU until all have their first token)."""
    started, first = time.process_time(), 0.0
    rows = [Row(list(prompt), Sampling(max_new_tokens=NUM_TOKENS)) for prompt in prompts]
    with torch.no_grad():
        for row in rows:
            batches.join(row)
        while any(row.num_new_tokens < NUM_TOKENS for row in rows):
            batches.leave([row for row, _ in batches.step() if row.num_new_tokens == NUM_TOKENS])
            if not first and all(row.num_new_tokens for row in rows):
                first = (time.process_time() - started) * 1000
    taken = time.process_time() - started
    return [row.token_ids[len(row.prompt_ids) :] for row in rows], len(rows) * NUM_TOKENS / taken, first


def over_http(url: str, clients: int) -> tuple[float, float]:
    """(tokens a second, median milliseconds to the first token) of streams of an OpenAI server."""
    firsts: list[float] = []
    counted: list[int] = []

    def ask() -> None:
        body = {"prompt": "Once upon a time", "max_tokens": NUM_TOKENS, "temperature": 0, "stream": True}
        body |= {"ignore_eos": True, "stream_options": {"include_usage": True}}
        with httpx.Client(timeout=300) as client:
            model = client.get(f"{url}/v1/models").json()["data"][0]["id"]
            started, first = time.perf_counter(), None
            with client.stream("POST", f"{url}/v1/completions", json={**body, "model": model}) as response:
                for line in response.iter_lines():
                    if line.startswith("data: {"):
                        first = first or time.perf_counter() - started
                        if '"usage":{' in line.replace(" ", ""):
                            counted.append(int(line.replace(" ", "").split('"completion_tokens":')[1].split(",")[0].split("}")[0]))
            firsts.append((first or 0) * 1000)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counted) / (time.perf_counter() - started), statistics.median(firsts)


if __name__ == "__main__":
    main()
