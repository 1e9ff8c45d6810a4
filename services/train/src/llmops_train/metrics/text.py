"""Every measure of a text beside its references, by name."""

from collections.abc import Sequence

from llmops_train.metrics import answers, captions, classes, rouge, similarity, translation
from llmops_train.metrics.meteor import meteor, open_wordnet
from llmops_train.metrics.pairs import Pairs
from llmops_train.metrics.scores import Scores

KINDS = {*rouge.KINDS, *translation.KINDS, *answers.KINDS, *classes.KINDS, *captions.KINDS, *similarity.KINDS, "meteor"}
NEEDS_ALL_ROWS = {"cider", *classes.KINDS}  # a row's share depends on the other rows


def score_texts(
    kinds: Sequence[str], pairs: Pairs, encoder: str | None = None, positive: str | None = None, tokenize: str = "13a"
) -> dict[str, Scores]:
    """The measures asked for, by name. Raises LlmopsError when one cannot be computed here."""
    found: dict[str, Scores] = {}
    if wanted := [kind for kind in kinds if kind in rouge.KINDS]:
        found.update({scores.name: scores for scores in rouge.rouge(wanted, pairs)})
    for kind in kinds:
        if kind in translation.KINDS:
            found[kind] = translation.translation(kind, pairs, tokenize)
        elif kind in answers.KINDS:
            found[kind] = answers.answers(kind, pairs)
        elif kind in classes.KINDS:
            found[kind] = classes.classes(kind, pairs, positive)
        elif kind in captions.KINDS:
            found[kind] = captions.captions(kind, pairs)
        elif kind in similarity.KINDS:
            found[kind] = similarity.similarity(kind, pairs, encoder)
        elif kind == "meteor":
            found[kind] = meteor(pairs)
    return {kind: found[kind] for kind in kinds}


def check_texts(kinds: Sequence[str], encoder: str | None) -> None:
    """Raises LlmopsError, before anything is generated, when a measure lacks a package, a program or a file."""
    from llmops_train.metrics.optional import need

    for kind in kinds:
        if kind in translation.KINDS:
            need("sacrebleu", "metrics", kind)
        elif kind in captions.KINDS:
            captions.check(kind)
        elif kind in similarity.KINDS:
            similarity.check_encoder(kind, encoder)
        elif kind == "meteor":
            need("nltk", "metrics", kind)
            open_wordnet()
