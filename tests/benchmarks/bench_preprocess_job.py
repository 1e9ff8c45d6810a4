"""The whole job, every rule on: JSON lines to shards, then once more with nothing changed. CPU-seconds, wall, memory of all processes in sum.

LLMOPS_TEST_DATA=folder python tests/benchmarks/bench_preprocess_job.py [MEGABYTES] [FOLDER]

A folder that is named keeps the corpus for the next time. One document in twenty is another's copy and one a near copy; some are
in other languages, broken by a wrong codec, with personal data, no prose at all, or hold a question of the evaluation set.
"""

import ctypes
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

SETTINGS = (
    "name=bench", "source.kind=jsonl", "repair=true", "web_quality={gopher_repetition: {}, gopher_quality: {}, c4: {}, fineweb: {}}",
    "pii.action=mask", "max_bad=0.01",
)  # fmt: skip
SENTENCE = re.compile(r"(?<=[.!?]) +(?=[A-Z])")
PAGE = os.sysconf("SC_PAGE_SIZE")
SUBREAPER = 36
"""prctl's PR_SET_CHILD_SUBREAPER: the processes of a job that outlive it are ours to wait for, and their time is counted."""


def sentences() -> list[str]:
    """English prose, sentences of six to sixty words: Python's reference, its docstrings, and the PEPs where the test data is there."""
    from pydoc_data.topics import topics

    from llmops_preprocess.python_stdlib import read_library
    from llmops_preprocess.record import Record

    texts = [*topics.values(), *(item.text for item in read_library() if isinstance(item, Record))]
    place = Path(os.environ.get("LLMOPS_TEST_DATA", "")) / "text-peps" / "peps.tar.gz"
    if place.is_file():
        with tarfile.open(place) as archive:
            texts += [content.read().decode() for info in archive if (content := archive.extractfile(info)) is not None]
    found = (piece for text in texts for paragraph in text.split("\n\n") for piece in SENTENCE.split(" ".join(paragraph.split())))
    return [
        text for text in dict.fromkeys(found) if 6 <= text.count(" ") < 60 and text[0].isupper() and text.endswith(".") and is_prose(text)
    ]


def is_prose(text: str) -> bool:
    """Whether signs are few: Gopher's rules drop what is made of code."""
    return sum(character.isalpha() or character == " " for character in text) >= 0.95 * len(text)


def documents(pool: list[str], size: int, seed: int = 7) -> Iterator[str]:
    """Documents of some 3,000 characters, of which one word in fifteen is another than in the source, until they are so many bytes."""
    choose, words = random.Random(seed), sorted({word for text in pool for word in text.split() if word.isalpha()})
    pool, recent = [altered(text, words, 15, choose) for text in pool * 6], list[str]()
    while size > 0:
        kind = choose.random()
        if recent and kind < 0.05:
            text = choose.choice(recent)
        elif recent and kind < 0.10:
            text = altered(choose.choice(recent), words, 60, choose)
        else:
            parts = choose.choices(pool, k=max(8, min(150, int(choose.lognormvariate(3.1, 0.6)))))
            lines = [" ".join(parts[first : first + 4]) for first in range(0, len(parts), 4)]
            text = decorated("\n\n".join(lines), kind, choose)
            recent.append(text)
            del recent[:-20_000]
        size -= len(text.encode())
        yield text


def altered(text: str, words: list[str], one_in: int, choose: random.Random) -> str:
    """The text with one word in so many replaced, now and then by a name nobody has seen."""
    parts = text.split(" ")
    for place in choose.choices(range(len(parts)), k=len(parts) // one_in):
        new = choose.choice(words) if choose.random() < 0.8 else f"{choose.choice(words)}{choose.randrange(100_000)}"
        parts[place] = f"{parts[place][: parts[place].rfind(chr(10)) + 1]}{new}"
    return " ".join(parts)


def decorated(text: str, kind: float, choose: random.Random) -> str:
    """A document of some kind of its own, by a number from 0.1 to 1."""
    number = choose.randrange(10**7)
    match int((kind - 0.1) / 0.9 * 100):
        case 0 | 1 | 2:
            return f"{text}\nContact jane.doe{number}@example.com or +1 415 555 {number % 10000:04d} from 198.51.100.{number % 250}."
        case 3:
            return text.replace("e ", "é ").encode().decode("latin-1")  # went through a wrong codec
        case 4 | 5:
            return "Das ist ein Satz über die Häuser und Straßen der Stadt, den niemand übersetzt hat. " * (number % 40 + 5) + str(number)
        case 6:
            return "$$$ 000 ||| " * (number % 75 + 5)
        case 7:
            return text.replace("\n\n", "\nPlease enable JavaScript\n").replace(". ", ".\n")
        case 8:
            return f"{text}\n{question(number % 100)}"
    return text


def question(number: int) -> str:
    """One of the evaluation set."""
    return f"Question number {number} asks why the quick brown fox jumps over the lazy dog of neighbour {number} without being asked to."


class Watch(threading.Thread):
    """Sums the resident memory of a process and all that it started, ten times a second; the peak of the sum."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root, self.peak, self.stopped = root, 0, threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.1):
            parents, sizes = {}, {}
            for name in filter(str.isdigit, os.listdir("/proc")):
                try:
                    fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                parents[int(name)], sizes[int(name)] = int(fields[1]), int(fields[21]) * PAGE
            self.peak = max(self.peak, sum(size for pid, size in sizes.items() if below(pid, self.root, parents)))


def below(pid: int, root: int, parents: dict[int, int]) -> bool:
    """Whether a process is the root or was started below it."""
    while pid and pid != root:
        pid = parents.get(pid, 0)
    return pid == root


def measure(argv: list[str]) -> str:
    """Runs a command; wall, CPU of all its processes, and their memory in sum."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    watch = Watch(process.pid)
    watch.start()
    if process.wait():
        sys.exit(f"exit {process.returncode}: {' '.join(argv)}")
    wall = time.perf_counter() - started
    watch.stopped.set()
    try:
        while os.wait():
            pass
    except ChildProcessError:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{wall:.1f} s, {cpu:.1f} CPU-s, {watch.peak / 2**20:.0f} MiB in sum"


def make_corpus(folder: Path, megabytes: float) -> Path:
    """The corpus and the evaluation set, made once."""
    place = folder / f"corpus-{megabytes:g}.jsonl"
    (folder / "evaluation.jsonl").write_text("".join(json.dumps({"question": question(number)}) + "\n" for number in range(100)))
    if not place.exists():
        partial = place.with_suffix(".partial")
        with open(partial, "w", encoding="utf-8") as file:
            for number, text in enumerate(documents(sentences(), int(megabytes * 1e6))):
                file.write(json.dumps({"id": number, "url": f"https://example.com/{number}", "text": text}) + "\n")
        partial.rename(place)
    return place


def main() -> None:
    """Prints a line for the run, and one for the run with nothing changed."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 64.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
        folder.mkdir(parents=True, exist_ok=True)
        corpus = make_corpus(folder, megabytes)
        size, out = corpus.stat().st_size / 1e6, folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        command = [
            sys.executable, "-m", "llmops_preprocess.cli", "run", *SETTINGS, f"source.uri={corpus}", f"out={out}",
            f"decontamination.uris=[{folder / 'evaluation.jsonl'}]",
        ]  # fmt: skip
        print(f"{size:.0f} MB of JSON lines, load {os.getloadavg()[0]:.1f}: {measure(command)}", flush=True)
        print(f"again, nothing changed: {measure(command)}")


if __name__ == "__main__":
    main()
