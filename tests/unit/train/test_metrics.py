"""Metrics: published scores come out, reference libraries agree to the last digits, and bad rows are named."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from llmops_shared.errors import LlmopsError
from llmops_train.metrics.classes import classes
from llmops_train.metrics.edits import edits
from llmops_train.metrics.pairs import make_pairs
from llmops_train.metrics.ranking import ranking
from llmops_train.metrics.resampling import holm, interval, paired
from llmops_train.metrics.scores import FORMULAS, make_scores
from llmops_train.metrics.text import score_texts
from llmops_train.metrics.translation import translation
from support.tools import lacking

WORDS = "the cat sat on a mat , while two dogs ran past ; nobody knew why (or cared) . It's 3.5 % faster ünïcode".split()


def garbled(count: int, seed: int, newlines: bool = False) -> tuple[list[str], list[str]]:
    """Predictions and references that differ by words lost, replaced and moved."""
    draw = random.Random(seed)
    references, predictions = [], []
    for _ in range(count):
        wanted = [draw.choice(WORDS) for _ in range(draw.randrange(1, 30))]
        found = [word if draw.random() < 0.8 else draw.choice(WORDS) for word in wanted if draw.random() < 0.9]
        cut = draw.randrange(len(found) + 1)
        found = found[cut:] + found[:cut]
        join = (lambda words: "".join(word + ("\n" if draw.random() < 0.2 else " ") for word in words)) if newlines else " ".join
        references.append(join(wanted))
        predictions.append(join(found))
    return predictions, references


def value(kind: str, predictions: list[str], references: list[object], **more: object) -> float:
    return score_texts([kind], make_pairs(predictions, references), **more)[kind].value()  # type: ignore[arg-type]


def test_published_scores_of_sacrebleu_come_out(test_data: Path) -> None:
    for case in json.loads((test_data / "metrics-known-scores" / "sacrebleu_cases.json").read_text()):
        arguments = dict(case["args"])
        kind = "chrf_2015" if arguments.pop("eps_smoothing", False) else case["metric"].removeprefix("corpus_")
        references = [list(row) for row in zip(*case["refs"], strict=True)]
        found = translation(kind, make_pairs(case["hyps"], references), arguments.get("tokenize", "13a")).value()
        assert found == pytest.approx(case["expected"], abs=1e-4), case


def test_published_rouge_scores_come_out(test_data: Path) -> None:
    """That package divides words at blanks only and counts each n-gram once; given such words, our scores are its scores."""
    for case in json.loads((test_data / "metrics-known-scores" / "rouge_pltrdy_data.json").read_text()):
        found, wanted = (["w" + word.encode().hex() for word in case[side].split()] for side in ("hyp", "ref"))
        for order in (1, 2):
            once = [" ".join(dict.fromkeys(grams(words, order))) for words in (found, wanted)]
            assert value("rouge_1", [once[0]], [once[1]]) == pytest.approx(case["scores"][f"rouge-{order}"]["f"], abs=1e-6)
        published = case["scores"]["rouge-l"]  # its F of ROUGE-L weighs p and r otherwise
        f1 = 2 * published["p"] * published["r"] / (published["p"] + published["r"])
        assert value("rouge_l", [" ".join(found)], [" ".join(wanted)]) == pytest.approx(f1)


def grams(words: list[str], order: int) -> list[str]:
    return ["".join(words[place : place + order]) for place in range(len(words) - order + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("newlines", [False, True])
def test_rouge_is_that_of_google(newlines: bool) -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
    predictions, references = garbled(80, 1, newlines)

    ours = score_texts(["rouge_1", "rouge_2", "rouge_l", "rouge_lsum"], make_pairs(predictions, references))

    theirs = [scorer.score(reference, prediction) for prediction, reference in zip(predictions, references, strict=True)]
    for scores, name in zip(ours.values(), ("rouge1", "rouge2", "rougeL", "rougeLsum"), strict=True):
        assert scores.table[:, 0].tolist() == [row[name].fmeasure for row in theirs]


@pytest.mark.slow
@pytest.mark.parametrize("num_references", [1, 2])
@pytest.mark.parametrize("kind", ["bleu", "chrf", "ter"])
def test_translation_metrics_are_those_of_sacrebleu(kind: str, num_references: int) -> None:
    from sacrebleu import metrics

    predictions, first = garbled(15, 2)
    columns = [first, garbled(15, 3)[1]][:num_references]
    predictions[7] = ""

    ours = translation(kind, make_pairs(predictions, [list(row) for row in zip(*columns, strict=True)]))

    metric = {"bleu": metrics.BLEU, "chrf": metrics.CHRF, "ter": metrics.TER}[kind]()
    assert ours.value() == pytest.approx(metric.corpus_score(predictions, columns).score, rel=1e-12)
    assert ours.signature == f"sacrebleu|{metric.get_signature()}"


def test_a_few_rows_have_the_bleu_of_these_rows_alone() -> None:
    """What resampling relies on: sums over any rows give sacreBLEU's score of these rows, smoothed where a precision is zero."""
    from sacrebleu.metrics import BLEU

    predictions, references = garbled(40, 4)
    scores = translation("bleu", make_pairs(predictions, references))

    for start in range(0, 40, 2):
        rows = slice(start, start + 2)
        wanted = BLEU().corpus_score(predictions[rows], [references[rows]]).score
        assert FORMULAS["bleu"](scores.table[rows].sum(0), 2) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.slow
def test_edits_are_those_of_sacrebleu_inside_and_outside_its_beam() -> None:
    from sacrebleu.metrics.lib_ter import translation_edit_rate

    draw = random.Random(5)
    for length in (1, 6, 12, 40):
        reference = [str(draw.randrange(length)) for _ in range(length)]
        for hypothesis in ([], reference[length // 2 :] + reference[: length // 2], [str(draw.randrange(9)) for _ in range(length // 3)]):
            assert edits(hypothesis, reference) == translation_edit_rate(hypothesis, reference)[0]


@pytest.mark.slow
def test_classification_is_that_of_scikit_learn() -> None:
    from sklearn import metrics

    draw = random.Random(6)
    wanted = [draw.choice("abc") for _ in range(200)]
    given = [one if draw.random() < 0.6 else draw.choice("abcz") for one in wanted]

    def ours(kind: str, positive: str | None = None) -> float:
        return classes(kind, make_pairs(given, wanted), positive).value()

    assert ours("accuracy") == pytest.approx(metrics.accuracy_score(wanted, given))
    assert ours("mcc") == pytest.approx(metrics.matthews_corrcoef(wanted, given))
    for kind, theirs in (("precision", metrics.precision_score), ("recall", metrics.recall_score), ("f1", metrics.f1_score)):
        assert ours(kind) == pytest.approx(theirs(wanted, given, average="macro", zero_division=0))
        assert ours(kind, "b") == pytest.approx(theirs([w == "b" for w in wanted], [g == "b" for g in given]))
    with pytest.raises(LlmopsError, match="positive_label 'yes': no reference has it"):
        ours("f1", "yes")


def test_answers_are_scored_as_squad_does() -> None:
    assert value("squad_exact_match", ["The  Eiffel Tower!"], ["eiffel tower"]) == 1
    assert value("exact_match", ["Paris", "paris"], ["Paris", "Paris"]) == 0.5
    assert value("squad_f1", ["in Paris, France"], [["Paris", "the city of Paris"]]) == pytest.approx(0.5)


@pytest.mark.slow
def test_retrieval_measures() -> None:
    found, gains = [["a", "b", "c", "d"], ["x", "y"]], [{"b": 1.0, "d": 3.0}, {"q": 1.0}]

    def of(kind: str, k: int = 3) -> list[float]:
        return ranking(kind, ["1", "2"], found, gains, k).table[:, 0].tolist()

    assert of("recall_at_k") == [0.5, 0]
    assert of("mrr") == [0.5, 0]
    assert of("ndcg_at_k", 4)[0] == pytest.approx((1 / math.log2(3) + 3 / math.log2(5)) / (3 + 1 / math.log2(3)))
    from sklearn.metrics import ndcg_score

    assert of("ndcg_at_k", 4)[0] == pytest.approx(ndcg_score([[0, 1, 0, 3]], [[4, 3, 2, 1]], k=4))
    with pytest.raises(LlmopsError, match="row 2: has no relevant document"):
        ranking("mrr", ["1", "2"], found, [{"b": 1.0}, {}], 3)
    with pytest.raises(LlmopsError, match="row 1: a gain is not above 0"):
        ranking("ndcg_at_k", ["1", "2"], found, [{"b": math.nan}, {"x": 1.0}], 3)


@pytest.mark.slow
def test_meteor_is_that_of_nltk() -> None:
    from nltk.tokenize import word_tokenize
    from nltk.translate.meteor_score import meteor_score

    from llmops_train.metrics.meteor import open_wordnet

    try:
        wordnet = open_wordnet()
    except LlmopsError:
        lacking("WordNet", "apt-get install wordnet-base")
    predictions = [
        "It is a guide to action which ensures that the military always obeys the commands of the party",
        "Two dogs ran quickly.",
    ]
    references = [
        "It is a guide to action that ensures that the military will forever heed Party commands",
        "A pair of hounds was running fast",
    ]

    found = score_texts(["meteor"], make_pairs(predictions, references))["meteor"]

    tokens = [[word_tokenize(text, preserve_line=True) for text in side] for side in (predictions, references)]
    theirs = [meteor_score([reference], prediction, wordnet=wordnet) for prediction, reference in zip(*tokens, strict=True)]
    assert found.table[:, 0].tolist() == theirs
    assert theirs[0] == pytest.approx(0.6944, abs=1e-4)  # published in nltk's documentation


@pytest.mark.slow
def test_words_are_divided_as_the_tokenizers_divide_whole_lines() -> None:
    from nltk.tokenize import word_tokenize
    from sacrebleu.metrics.bleu import BLEU

    from llmops_train.metrics.meteor import Tokens
    from llmops_train.metrics.translation import tokenized

    pieces = """don't cannot I'll 'tis "quoted" (see), 3.5% 1,000 a.b. e.g. ... ,, ; U.S. end. "x." 'y' it's-- gimme wanna more'n
        [a] {b} <c> $5 &amp; &quot; -x 5-6 http://a.b/c?d=e ünï “w” ‘z’ .5 5. , . ' \" `` '' a\tb can't. d'ye <skipped> well-""".split()
    draw, metric, divided = random.Random(3), BLEU(), Tokens()
    texts = [" ".join(draw.choice(pieces) for _ in range(draw.randrange(9))) for _ in range(600)] + ["a-\nb c", "", " x ", "a\nb."]

    assert [divided(text) for text in texts] == [word_tokenize(text, preserve_line=True) for text in texts]
    assert tokenized(metric, texts) == [metric.tokenizer(text.rstrip()) for text in texts]


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a", "b"], ["a"], "2 predictions, but 1 references: row 2 has only one"),
        (["a", None], ["a", "b"], "row 2: its prediction is no text"),
        (["a", math.nan], ["a", "b"], r"row 2: its prediction is no text \(NaN\)"),
        (["a", "b"], ["a", float("nan")], r"row 2: its reference is no text \(NaN\)"),
        (["a", "b"], ["a", " "], "row 2: its reference is empty"),
        (["a", "b"], [["a"], []], "row 2: has no reference"),
        (["a", "b"], [["a"], ["b", ""]], "row 2: its reference is empty"),
    ],
)
def test_bad_rows_are_named(predictions: list[object], references: list[object], message: str) -> None:
    with pytest.raises(LlmopsError, match=message):
        make_pairs(predictions, references)


def test_a_value_that_is_no_number_is_named() -> None:
    with pytest.raises(LlmopsError, match="perplexity: row r2 has a value that is no number"):
        make_scores("perplexity", ["r1", "r2"], [1.0, math.inf], "")
    with pytest.raises(LlmopsError, match="there is no row to measure it on"):
        make_scores("f1", [], [], "")


def test_the_interval_is_that_of_the_shared_bootstrap() -> None:
    from llmops_shared.statistics import bootstrap, mean

    rows = np.random.default_rng(0).random(80)

    found = interval(make_scores("m", [str(number) for number in range(80)], rows, ""), seed=3)

    assert found == pytest.approx(bootstrap(rows, mean, seed=3))


@pytest.mark.slow
def test_a_paired_test_sees_what_intervals_alone_do_not() -> None:
    random_rows = np.random.default_rng(1)
    base = random_rows.random(200)
    ids = [str(number) for number in range(200)]
    first = make_scores("m", ids, base, "")
    second = make_scores("m", ids[::-1], (base + 0.02 + 0.01 * random_rows.standard_normal(200))[::-1], "")

    found = paired(first, second, num_resamples=2000)

    assert found.low > 0.015 and found.high < 0.025 and found.p < 0.001
    alone = interval(first), interval(second)
    assert alone[0].high > alone[1].low
    assert paired(first, first).p == 1


def test_holm_adjusts_as_published() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
