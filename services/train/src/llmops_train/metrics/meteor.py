"""METEOR (Banerjee and Lavie 2005) by nltk, with its stems and synonyms remembered between rows."""

import functools
import warnings
from pathlib import Path
from typing import Any

from llmops_shared.errors import LlmopsError
from llmops_train.metrics.optional import version_of
from llmops_train.metrics.pairs import Pairs
from llmops_train.metrics.scores import Scores, make_scores

CLOSING = "])}>\"'»”’"
DEBIAN = Path("/usr/share/wordnet")
HOW = "run `python -m nltk.downloader wordnet`, point NLTK_DATA at a copy, or on Debian `apt-get install wordnet-base`"
# file names of WordNet 3.0, which Debian leaves out of its package: lexnames(5WN)
LEXNAMES = (
    "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition noun.communication "
    "noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object noun.person noun.phenomenon noun.plant "
    "noun.possession noun.process noun.quantity noun.relation noun.shape noun.state noun.substance noun.time verb.body verb.change "
    "verb.cognition verb.communication verb.competition verb.consumption verb.contact verb.creation verb.emotion verb.motion "
    "verb.perception verb.possession verb.social verb.stative verb.weather adj.ppl"
)


def meteor(pairs: Pairs) -> Scores:
    """METEOR in [0, 1], alpha 0.9, beta 3, gamma 0.5; the best reference counts. Raises LlmopsError without WordNet."""
    from nltk.stem.porter import PorterStemmer
    from nltk.translate.meteor_score import meteor_score

    wordnet, stemmer = Remembered(open_wordnet()), Remembered(PorterStemmer())
    tokens = Tokens()
    values = [
        meteor_score([tokens(reference) for reference in references], tokens(prediction), stemmer=stemmer, wordnet=wordnet)
        for prediction, references in zip(pairs.predictions, pairs.references, strict=True)
    ]
    return make_scores("meteor", pairs.row_ids, values, f"nltk:{version_of('nltk')}|wordnet:3.0|tok:nltk|alpha:0.9|beta:3|gamma:0.5")


class Tokens:
    """Words as nltk's tokenizer divides a line. It looks at a word and the blanks around it, and at whether the line ends there,
    so each word is divided once."""

    def __init__(self) -> None:
        from nltk.tokenize.destructive import NLTKWordTokenizer

        tokenizer: Any = NLTKWordTokenizer()
        self.whole = tokenizer.tokenize
        self.first = functools.cache(lambda word: tokenizer.tokenize(f"{word} x")[:-1])
        self.inside = functools.cache(lambda word: tokenizer.tokenize(f"x {word} x")[1:-1])
        self.last = functools.cache(lambda word: tokenizer.tokenize(f"x {word}")[1:])

    def __call__(self, text: str) -> list[str]:
        words = text.split()
        end = len(words) - 1
        while end > 0 and not words[end].strip(CLOSING):  # a last full stop may have closing signs behind it
            end -= 1
        if end <= 0:
            return list(self.whole(text))
        return [*self.first(words[0]), *(token for word in words[1:end] for token in self.inside(word)), *self.last(" ".join(words[end:]))]


class Remembered:
    """A stemmer, or WordNet's synonyms as nltk's METEOR asks for them, each word looked up once."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.stem = functools.cache(getattr(source, "stem", None) or str)

    @functools.cache  # noqa: B019 - lives as long as one measurement
    def synsets(self, word: str) -> list["Remembered"]:
        """One synset that holds the lemmas of all synsets of the word."""
        names = dict.fromkeys(name for synset in self.source.synsets(word) for name in synset.lemma_names())
        return [Remembered(tuple(map(Lemma, names)))] if names else []

    def lemmas(self) -> Any:
        """The lemmas."""
        return self.source


class Lemma:
    """A lemma that knows its name."""

    def __init__(self, name: str) -> None:
        self.word = name

    def name(self) -> str:
        """The name."""
        return self.word


@functools.cache
def open_wordnet() -> Any:
    """nltk's reader over WordNet 3.0, from nltk's data folders or Debian's package. Raises LlmopsError when there is none."""
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Reader(WordNetCorpusReader):  # type: ignore[misc]
        """WordNet, its list of file names made where it is missing."""

        def open(self, file: str) -> Any:
            if file == "lexnames" and not Path(str(self.root), file).exists():
                return LexNames()
            return super().open(file)

    try:
        root = nltk.data.find("corpora/wordnet")
    except LookupError:
        if not (DEBIAN / "index.noun").exists():
            raise LlmopsError(f"meteor: WordNet 3.0 is not here; {HOW}, or leave meteor out of measures") from None
        if str(DEBIAN) not in nltk.data.path:
            nltk.data.path.append(str(DEBIAN))  # nltk opens nothing outside these
        root = nltk.data.FileSystemPathPointer(str(DEBIAN))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The multilingual functions are not available")
        Reader.map_wn = lambda self, version="wordnet": None  # of use for other languages only, and it needs one more corpus
        return Reader(root, None)


class LexNames(list[str]):
    """The missing file, as lines."""

    def __init__(self) -> None:
        super().__init__(f"{number:02}\t{name}\t0" for number, name in enumerate(LEXNAMES.split()))

    def __enter__(self) -> "LexNames":
        return self

    def __exit__(self, *error: object) -> None:
        return None
