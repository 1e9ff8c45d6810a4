"""BLEU, chrF and TER as sacreBLEU defines them (Post 2018, https://aclanthology.org/W18-6319), its signature kept.

Tokens, TER and the case of several references are sacreBLEU's own code; for one reference the counts of BLEU and chrF are
made for all rows at once, and are the same integers.
"""

import functools
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from llmops_train.metrics.edits import edits
from llmops_train.metrics.ngrams import Integers, shared_ngrams
from llmops_train.metrics.pairs import Pairs
from llmops_train.metrics.scores import Scores, make_scores

KINDS = ("bleu", "chrf", "chrf_2015", "ter")


def translation(kind: str, pairs: Pairs, tokenize: str = "13a") -> Scores:
    """One of KINDS, 0 to 100 (TER may be higher); `chrf_2015` is chrF as first published: beta 3, mean F over the orders."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    match kind:
        case "bleu":
            metric: Any = BLEU(tokenize=tokenize)
            table = bleu_table(metric, pairs)
        case "chrf":
            metric = CHRF()
            table = chrf_table(metric, pairs)
        case "chrf_2015":
            metric = CHRF(beta=3, eps_smoothing=True)
            table = chrf_table(metric, pairs)
        case _:
            metric = TER()
            table = ter_table(metric, pairs)
    metric.num_refs = len(pairs.references[0]) if len({len(one) for one in pairs.references}) == 1 else -1
    signature = f"sacrebleu|{metric.get_signature()}"
    formula = "chrf_eps_3" if kind == "chrf_2015" else kind
    return make_scores(kind, pairs.row_ids, table, signature, formula, better="lower" if kind == "ter" else "higher")


def bleu_table(metric: Any, pairs: Pairs) -> Any:
    """(system length, reference length, 4 x correct, 4 x total) of each row."""
    if not pairs.single():
        return their_table(metric, pairs)
    vocabulary: dict[str, int] = {}
    left = [word_symbols(text, vocabulary) for text in tokenized(metric, pairs.predictions)]
    right = [word_symbols(text, vocabulary) for text in tokenized(metric, [one[0] for one in pairs.references])]
    counts = shared_ngrams(left, right, 4)
    if counts is None:
        return their_table(metric, pairs)
    return np.concatenate([counts[:, :1, 0], counts[:, :1, 1], counts[:, :, 2], counts[:, :, 0]], axis=1)


def chrf_table(metric: Any, pairs: Pairs) -> Any:
    """(hypothesis, reference, match) for each of six orders, of each row; white space does not count."""
    if not pairs.single():
        return their_table(metric, pairs)
    left = ["".join(text.split()) for text in pairs.predictions]
    right = ["".join(one[0].split()) for one in pairs.references]
    counts = shared_ngrams(*character_symbols(left, right), max_order=metric.char_order)
    if counts is None:
        return their_table(metric, pairs)
    counts[:, :, 0] *= counts[:, :, 1] > 0  # an order that the reference lacks does not count
    return counts.reshape(len(counts), -1)


def ter_table(metric: Any, pairs: Pairs) -> Any:
    """(edits to the closest reference, mean words of the references) of each row."""
    table = []
    for prediction, references in zip(pairs.predictions, pairs.references, strict=True):
        words = metric.tokenizer(prediction.rstrip()).split()
        wanted = [metric.tokenizer(reference.rstrip()).split() for reference in references]
        table.append((min(edits(words, one) for one in wanted), sum(map(len, wanted)) / len(wanted)))
    return table


def their_table(metric: Any, pairs: Pairs) -> Any:
    """sacreBLEU's own statistics of each row, for any number of references."""
    columns = [list(column) for column in zip_longest(*pairs.references)]
    return metric._extract_corpus_statistics(list(pairs.predictions), columns)


def tokenized(metric: Any, texts: Sequence[str]) -> list[str]:
    """Tokens with blanks between them. Rules of `13a` never look beyond the blanks around a word, so each word is divided once."""
    if metric.tokenizer.signature() != "13a":
        return [metric.tokenizer(text.rstrip()) for text in texts]
    divide: Callable[[str], str] = functools.cache(metric.tokenizer)
    return [" ".join(map(divide, joined_lines(text).split())) for text in texts]


def joined_lines(text: str) -> str:
    """The text with what `13a` takes out across words: skipped parts, and hyphens at the end of a line."""
    return text.rstrip().replace("<skipped>", "").replace("-\n", "")


def word_symbols(text: str, vocabulary: dict[str, int]) -> Integers:
    """Words as numbers."""
    return np.array([vocabulary.setdefault(word, len(vocabulary)) for word in text.split()], dtype=np.int64)


def character_symbols(left: Sequence[str], right: Sequence[str]) -> tuple[list[Integers], list[Integers]]:
    """Characters as numbers, no larger than there are different ones."""
    texts = [*left, *right]
    points = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32)
    present = np.zeros(0x110000, dtype=bool)
    present[points] = True
    symbols = (np.cumsum(present) - 1)[points]
    cuts = np.cumsum([len(text) for text in texts])[:-1]
    rows = np.split(symbols.astype(np.int64), cuts)
    return rows[: len(left)], rows[len(left) :]
