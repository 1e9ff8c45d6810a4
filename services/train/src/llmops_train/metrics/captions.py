"""CIDEr, METEOR 1.5 and SPICE as the COCO caption evaluation runs them: `pycocoevalcap`, tokens by Stanford's PTB tokenizer in Java."""

import contextlib
import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmops_shared.errors import LlmopsError
from llmops_train.metrics.optional import need, version_of
from llmops_train.metrics.pairs import Pairs
from llmops_train.metrics.scores import Scores, make_scores

KINDS = ("cider", "meteor_1_5", "spice")

CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
CORENLP_SOURCE = "stanford-corenlp-full-2015-12-09.zip of https://nlp.stanford.edu/software/"
# what the tokenizer of the COCO evaluation drops
PUNCTUATION = {"''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"}
# SPICE's serializer of 2016 reaches into Java's own classes, which Java 9 closed
CLOSED = ("java.lang", "java.util", "java.math", "java.net", "java.text", "java.util.concurrent")
OPENED = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in CLOSED]


def captions(kind: str, pairs: Pairs) -> Scores:
    """One of the three: CIDEr in [0, 10], METEOR 1.5 and SPICE in [0, 1]. Raises LlmopsError when a part is missing."""
    check(kind)
    place = folder()
    signature = f"pycocoevalcap:{version_of('pycocoevalcap')}|tok:ptb-3.4.1|lower|no punctuation"
    tokens = tokenize(pairs, place / "tokenizer")
    match kind:
        case "cider":
            return make_scores(kind, pairs.row_ids, cider(tokens), f"{signature}|n:4|sigma:6|idf:references of these rows")
        case "meteor_1_5":
            return make_scores(kind, pairs.row_ids, meteor(tokens, place / "meteor"), f"{signature}|meteor:1.5|en|norm")
    return make_scores(kind, pairs.row_ids, spice(tokens, place / "spice"), f"{signature}|spice:1.0|corenlp:3.6.0")


def check(kind: str) -> None:
    """Raises LlmopsError that says what is missing and where it is to be had, before any work."""
    need("pycocoevalcap", "captions", kind)
    if shutil.which("java") is None:
        raise LlmopsError(f"{kind}: needs Java on PATH (`apt-get install default-jre-headless`), or leave {kind} out of measures")
    if kind == "spice":
        place = folder() / "spice" / "lib"
        missing = [name for name in CORENLP if not (place / name).exists()]
        if missing:
            raise LlmopsError(
                f"spice: {' and '.join(missing)} are not in {place}; they are part of {CORENLP_SOURCE}: put them there, "
                f"or leave spice out of measures"
            )


def folder() -> Path:
    """Where the package's jars are."""
    spec = importlib.util.find_spec("pycocoevalcap")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def tokenize(pairs: Pairs, place: Path) -> Pairs:
    """The pairs in lower-case tokens without punctuation."""
    texts = [text for row in zip(pairs.predictions, pairs.references, strict=True) for text in (row[0], *row[1])]
    lines = "\n".join(" ".join(text.split()) for text in texts) + "\n"
    command = ["java", "-cp", "stanford-corenlp-3.4.1.jar", "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    done = subprocess.run(command, cwd=place, input=lines.encode(), capture_output=True, check=False)
    found = done.stdout.decode().split("\n")[:-1]
    if done.returncode or len(found) != len(texts):
        raise LlmopsError(f"Stanford's tokenizer gave {len(found)} lines for {len(texts)}: {done.stderr.decode()[-300:]}")
    rest = iter([" ".join(word for word in line.split(" ") if word and word not in PUNCTUATION) for line in found])
    rows = [(next(rest), [next(rest) for _ in references]) for references in pairs.references]
    return Pairs(pairs.row_ids, [row[0] for row in rows], [row[1] for row in rows])


def cider(tokens: Pairs) -> list[float]:
    """CIDEr of each row; how telling a word is comes from the references of all rows."""
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    scorer = CiderScorer(n=4, sigma=6.0)
    for prediction, references in zip(tokens.predictions, tokens.references, strict=True):
        scorer += (prediction, references)
    return [float(value) for value in scorer.compute_score()[1]]


def meteor(tokens: Pairs, place: Path) -> list[float]:
    """METEOR 1.5 of each row, by its own program, which finds its tables beside its jar only where the path has no space."""
    with scratch() as work:
        shutil.copy(place / "meteor-1.5.jar", work)  # Java follows a link to a jar
        (work / "data").symlink_to(place / "data")
        return ask_meteor(tokens, work / "meteor-1.5.jar")


def ask_meteor(tokens: Pairs, jar: Path) -> list[float]:
    """The rows put to the program, one after the other. Raises LlmopsError when it ends before its answers."""
    command = ["java", "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    with subprocess.Popen(
        command, cwd=jar.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as program:
        assert program.stdin is not None and program.stdout is not None

        def ask(line: str) -> str:
            assert program.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # then there is no answer either
                print(line, file=program.stdin, flush=True)
            if not (answer := program.stdout.readline().strip()):
                program.kill()
                raise LlmopsError(
                    f"meteor_1_5: its program ended without an answer; try `java -jar {jar.name}` of the package pycocoevalcap"
                )
            return answer

        rows = zip(tokens.predictions, tokens.references, strict=True)
        statistics = [ask(" ||| ".join(["SCORE", *references, prediction])) for prediction, references in rows]
        first = ask(" ||| ".join(["EVAL", *statistics]))
        values = [float(first), *(float(program.stdout.readline()) for _ in statistics[1:])]
        program.stdin.close()
    return values


def spice(tokens: Pairs, place: Path) -> list[float]:
    """SPICE of each row, by its own program."""
    rows = [
        {"image_id": number, "test": prediction, "refs": list(references)}
        for number, (prediction, references) in enumerate(zip(tokens.predictions, tokens.references, strict=True))
    ]
    with scratch() as work:
        (work / "in.json").write_text(json.dumps(rows))
        command = ["java", "-Xmx8G", *OPENED, "-jar", "spice-1.0.jar", f"{work}/in.json", "-out", f"{work}/out.json", "-subset", "-silent"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LlmopsError(f"spice: its program failed ({done.stderr.strip()[-300:]}); Java 8 is what it was written for")
        found = {item["image_id"]: float(item["scores"]["All"]["f"]) for item in json.loads((work / "out.json").read_text())}
    return [found[number] for number in range(len(rows))]


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that goes away."""
    with tempfile.TemporaryDirectory() as work:
        yield Path(work)
