"""Filters and near-duplicates beside peers on one corpus, alternating, each in a process of its own: megabytes per CPU-second.

PEERS=folder BENCH=folder python tests/benchmarks/bench_preprocess_peers.py [DOCUMENTS]

PEERS holds an environment each of datatrove, dolma and text-dedup (`datatrove/`, `dolma/`, `textdedup/`), whose pins clash with
ours; BENCH holds the scripts that run them. A peer whose environment is not there is not compared, and the output says so.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

from llmops_preprocess.config import NearDuplicates
from llmops_preprocess.gopher import broken_quality_rule, broken_repetition_rule
from llmops_preprocess.near_duplicates import near_duplicates
from llmops_preprocess.row_rules_config import GopherQuality, GopherRepetition, Pii
from llmops_shared.pii import mask

ROUNDS = 3
PEERS = {"filter": (("datatrove", "bench_preprocess.py"), ("dolma", "bench_preprocess.py")), "dedup": (("datatrove", "bench_dedup.py"), ("text-dedup", "bench_dedup.py"))}  # fmt: skip


def filter_ours(corpus: Path) -> dict[str, float]:
    """Gopher's rules with the thresholds the peers' script sets, personal data masked, and the rows written."""
    quality, kinds, kept = GopherQuality(min_stop_words=0, min_alphabetic_words=0.3), Pii().kinds, 0
    with corpus.open(encoding="utf-8") as rows, open(os.devnull, "w", encoding="utf-8") as out:
        for line in rows:
            row = json.loads(line)
            if broken_repetition_rule(row["text"], GopherRepetition()) or broken_quality_rule(row["text"], quality):
                continue
            out.write(json.dumps({**row, "text": mask(row["text"], kinds)}) + "\n")
            kept += 1
    return {"kept": kept}


def dedup_ours(corpus: Path) -> dict[str, float]:
    """Near-duplicates, with the recall on planted pairs and the clusters of which no text is left."""
    with corpus.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    dropped = near_duplicates([row["text"] for row in rows], NearDuplicates(threshold=0.7))
    clusters: dict[str, list[bool]] = {}
    for number, row in enumerate(rows):
        if row["kind"] != "junk":
            root = f"d{row['kind'].partition(':')[2]}" if ":" in row["kind"] else row["id"]
            clusters.setdefault(root, []).append(number not in dropped)
    planted = sum(len(kept) - 1 for kept in clusters.values())
    removed = sum(len(kept) - max(1, sum(kept)) for kept in clusters.values())
    return {"dup_recall": removed / planted, "clusters_lost": sum(not any(kept) for kept in clusters.values())}


def measure(name: str, corpus: Path) -> None:
    """One round of ours in this process: its JSON line."""
    found = filter_ours(corpus) if name == "filter" else dedup_ours(corpus)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu_s": usage.ru_utime + usage.ru_stime, **found}))


def run(words: list[str], environment: dict[str, str], folder: Path) -> dict[str, float]:
    """The last line of a process, which is its result; imports count on both sides."""
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def main() -> None:
    """Prints a line for every peer."""
    documents = sys.argv[1] if len(sys.argv) > 1 else "4000"
    peers, bench = Path(os.environ["PEERS"]), Path(os.environ["BENCH"])
    environment = {
        **os.environ,
        "BENCH_DATA": str(peers / "data"),
        "OMP_NUM_THREADS": "1",
        "TEXT_DEDUP_PY": str(peers / "textdedup/bin/python"),
    }
    environment["DOLMA"] = str(peers / "dolma/bin/dolma")
    corpus = peers / "data" / f"corpus_{documents}_7.jsonl"
    subprocess.run([sys.executable, "-c", f"from common import corpus; corpus({documents})"], env=environment, cwd=bench, check=True)
    megabytes = corpus.stat().st_size / 1e6
    for name, compared in PEERS.items():
        for peer, script in compared:
            python = peers / ("dolma" if peer == "dolma" else "datatrove") / "bin" / "python"
            if not python.exists() or (peer == "text-dedup" and not (peers / "textdedup").exists()):
                print(f"{name}: {peer} not compared, {peers} has no environment of it")
                continue
            theirs, ours = list[dict[str, float]](), list[dict[str, float]]()
            for _ in range(ROUNDS):
                theirs.append(run([str(python), script, "--peer", peer, "--docs", documents, "--workers", "1"], environment, bench))
                ours.append(run([sys.executable, __file__, "--ours", name, str(corpus)], environment, Path.cwd()))
            cpu = [median(item["cpu_s"] for item in results) for results in (theirs, ours)]
            extra = {key: value for key, value in ours[0].items() if key != "cpu_s"}
            print(
                f"{name}: {peer} {megabytes / cpu[0]:.2f}, ours {megabytes / cpu[1]:.2f} MB/cpu-s, {cpu[0] / cpu[1]:.1f}x; {extra}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        measure(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
