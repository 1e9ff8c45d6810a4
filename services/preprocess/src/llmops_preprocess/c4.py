"""C4's rules (Raffel et al. 2020, section 2.2), those of its published code included: policy lines and long words go."""

import re

from llmops_preprocess.row_rules_config import C4

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
# a sentence ends at its sign where a word follows, unless the sign belongs to an initial or an abbreviation
SENTENCE_END = re.compile(r"(?<!\b[A-Za-z])(?<!\.[A-Za-z])(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bvs)(?<!\bMrs)[.!?]+[\"')\]”’]*\s+(?=\S)")


def clean_page(text: str, config: C4) -> tuple[str, str | None]:
    """What is left of a page, and the rule that drops it."""
    kept, num_sentences = list[str](), 0
    for given in text.splitlines():
        line = given.strip()
        words = line.split()
        if len(line) > config.max_word_length and any(len(word) > config.max_word_length for word in words):
            continue
        line = CITATION.sub("", line)
        if config.terminal_punctuation and (not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...")):
            continue
        if len(words) < config.min_words_per_line:
            continue
        lower = line.lower()
        if "lorem ipsum" in lower:
            return text, "lorem_ipsum"
        if "javascript" in lower:
            continue
        if "{" in line:
            return text, "curly_bracket"
        if any(phrase in lower for phrase in POLICY):
            continue
        num_sentences += 1 + len(SENTENCE_END.findall(line))
        kept.append(line)
    if num_sentences < config.min_sentences:
        return text, "min_sentences"
    return "\n".join(kept).strip(), None
