"""Text metrics on 10,000 pairs against Hugging Face `evaluate`, in one run: python tests/benchmarks/bench_evaluation.py [PAIRS]

`evaluate.load` needs the hub, so the peers below are its metrics as its scripts make them: an `evaluate.Metric` whose rows go
through its Arrow cache, over the reference library with the script's own options. Values must be equal; times are CPU seconds.
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from llmops_train.metrics.pairs import make_pairs
from llmops_train.metrics.text import score_texts


def pairs(count: int) -> tuple[list[str], list[str]]:
    """Sentences of Python's own help, and the same with words lost, replaced and moved."""
    import pydoc_data.topics

    words, draw = " ".join(pydoc_data.topics.topics.values()).split(), random.Random(0)
    predictions, references = [], []
    for _ in range(count):
        start = draw.randrange(len(words) - 40)
        wanted = words[start : start + draw.randrange(8, 35)]
        found = [word if draw.random() < 0.8 else draw.choice(words) for word in wanted if draw.random() < 0.95]
        cut = draw.randrange(len(found)) if draw.random() < 0.3 else 0
        predictions.append(" ".join(found[cut:] + found[:cut]))
        references.append(" ".join(wanted))
    return predictions, references


def peer(compute: Callable[[list[str], list[str]], Any]) -> Callable[[list[str], list[str]], Any]:
    """A metric of `evaluate` around a library's function."""
    import datasets
    import evaluate

    class Peer(evaluate.Metric):  # type: ignore[misc]
        def _info(self) -> Any:
            features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
            return evaluate.MetricInfo(description="", citation="", features=features)

        def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
            return {"value": compute(predictions, references)}

    metric = Peer(cache_dir=tempfile.mkdtemp())
    return lambda predictions, references: metric.compute(predictions=predictions, references=references)["value"]


def rouge(predictions: list[str], references: list[str]) -> list[float]:
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
    rows = [scorer.score(reference, prediction) for prediction, reference in zip(predictions, references, strict=True)]
    return [sum(row[name].fmeasure for row in rows) / len(rows) for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")]


def sacre(name: str) -> Callable[[list[str], list[str]], list[float]]:
    def compute(predictions: list[str], references: list[str]) -> list[float]:
        from sacrebleu import metrics

        return [getattr(metrics, name)().corpus_score(predictions, [references]).score]

    return compute


def meteor(predictions: list[str], references: list[str]) -> list[float]:
    from nltk.tokenize import word_tokenize
    from nltk.translate.meteor_score import single_meteor_score

    from llmops_train.metrics.meteor import open_wordnet

    wordnet = open_wordnet()
    rows = [
        single_meteor_score(word_tokenize(reference, preserve_line=True), word_tokenize(prediction, preserve_line=True), wordnet=wordnet)
        for prediction, reference in zip(predictions, references, strict=True)
    ]
    return [sum(rows) / len(rows)]


def exact_match(predictions: list[str], references: list[str]) -> list[float]:
    import numpy as np

    return [float(np.mean(np.asarray(predictions) == np.asarray(references)))]


PEERS: dict[str, tuple[Callable[[list[str], list[str]], list[float]], list[str]]] = {
    "rouge": (rouge, ["rouge_1", "rouge_2", "rouge_l", "rouge_lsum"]),
    "bleu": (sacre("BLEU"), ["bleu"]),
    "chrf": (sacre("CHRF"), ["chrf"]),
    "ter": (sacre("TER"), ["ter"]),
    "meteor": (meteor, ["meteor"]),
    "exact_match": (exact_match, ["exact_match"]),
}


def measured(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    return work(), time.process_time() - began


def main() -> None:
    predictions, references = pairs(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    few = predictions[:50], references[:50]
    total = [0.0, 0.0]
    for name, (compute, kinds) in PEERS.items():
        theirs_of = peer(compute)
        peer(compute)(*few), score_texts(kinds, make_pairs(*few))  # imports and WordNet's index are nobody's time
        theirs, their_s = measured(lambda theirs_of=theirs_of: theirs_of(predictions, references))
        for cache in ("sacrebleu.tokenizers.tokenizer_13a.Tokenizer13a", "sacrebleu.tokenizers.tokenizer_re.TokenizerRegexp"):
            module, _, kind = cache.rpartition(".")
            getattr(sys.modules.get(module), kind).__call__.cache_clear() if module in sys.modules else None
        scores, our_s = measured(lambda kinds=kinds: score_texts(kinds, make_pairs(predictions, references)))
        ours = [one.value() for one in scores.values()]
        worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        assert worst < 1e-9, (name, ours, theirs)
        total = [total[0] + their_s, total[1] + our_s]
        line = {"metric": name, "pairs": len(predictions), "evaluate_cpu_s": round(their_s, 3), "ours_cpu_s": round(our_s, 3)}
        print(json.dumps({**line, "times_faster": round(their_s / our_s, 2), "largest_difference": worst}))
    print(
        json.dumps(
            {
                "metric": "all",
                "evaluate_cpu_s": round(total[0], 2),
                "ours_cpu_s": round(total[1], 2),
                "times_faster": round(total[0] / total[1], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
