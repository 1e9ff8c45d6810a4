"""C4's rules (Raffel et al. 2020, section 2.2), those of its published code included: policy lines and long words go."""

import re

from llmops_preprocess.known_words import known
from llmops_preprocess.row_rules_config import C4

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
# a sentence ends at its sign where a word follows, unless the sign belongs to an initial or an abbreviation
SENTENCE_END = re.compile(
    r"[.!?](?<!\b[A-Za-z].)(?<!\.[A-Za-z].)(?<!\bMr.)(?<!\bMs.)(?<!\bDr.)(?<!\bvs.)(?<!\bMrs.)[.!?]*[\"')\]”’]*\s+(?=\S)"
)


def clean_page(text: str, config: C4) -> tuple[str, str | None]:
    """What is left of a page, and the rule that drops it."""
    kept, num_sentences, same_words = list[str](), 0, True
    for given in text.splitlines():
        line, why = clean_line(given.strip(), config)
        if why is not None:
            return text, why
        if not line:
            same_words = same_words and not given.strip()
            continue
        same_words = same_words and len(line) >= len(given.strip())
        if num_sentences < config.min_sentences:  # more need not be counted
            num_sentences += 1 + len(SENTENCE_END.findall(line))
        kept.append(line)
    if num_sentences < config.min_sentences:
        return text, "min_sentences"
    cleaned = "\n".join(kept).strip()
    if same_words:
        known.says_the_same(cleaned, text)
    return cleaned, None


def clean_line(given: str, config: C4) -> tuple[str, str | None]:
    """What is left of a line, nothing where it goes, and the rule by which the page goes with it."""
    if len(given.split(None, config.min_words_per_line)) < config.min_words_per_line:
        return "", None
    if len(given) > config.max_word_length and any(len(word) > config.max_word_length for word in given.split()):
        return "", None
    line = CITATION.sub("", given) if "[" in given else given
    if config.terminal_punctuation and (not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...")):
        return "", None
    lower = line.lower()
    if "lorem ipsum" in lower:
        return "", "lorem_ipsum"
    if "javascript" in lower:
        return "", None
    if "{" in line:
        return "", "curly_bracket"
    return ("", None) if any(phrase in lower for phrase in POLICY) else (line, None)
