"""Questions and answers from the facts of a library entry, each kind from another fact."""

import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence

from llmops_preprocess.config import QuestionKind
from llmops_preprocess.definition import Definition

MAX_METHODS = 12  # a longer list is no answer to remember

PHRASES: dict[QuestionKind, tuple[str, ...]] = {
    "purpose": ("What does {name} do?", "What is {name} for?", "Explain {name} in one sentence.", "What is the purpose of `{name}`?"),
    "lookup": (
        "Which {noun} of `{parent}` does this: {fact}",
        "Name the {noun} in {parent} described as: {fact}",
        "I look for a {noun} of {parent}. {fact}",
    ),
    "signature": ("What is the signature of {name}?", "How is `{name}` called?", "Show me the signature of `{name}`."),
    "parameters": ("Which parameters does {name} take?", "What are the parameters of `{name}`?", "List the arguments of {name}."),
    "default": (
        "What is the default of `{fact}` in {name}?",
        "Which default value has `{fact}` of `{name}`?",
        "If I leave out `{fact}` in {name}, what is used?",
    ),
    "raises": ("Which exceptions can {name} raise?", "What does `{name}` raise?", "Which errors should I expect from {name}?"),
    "returns": ("What does {name} return?", "What is the return value of `{name}`?", "What do I get back from {name}?"),
    "example": ("Show an example of {name}.", "Give me an example of `{name}`.", "How do I use {name}? Show some code."),
    "module": ("Which module has `{fact}`?", "Where do I import {fact} from?", "In which module is the {noun} `{fact}`?"),
    "methods": ("Which methods does the class {name} have?", "List the methods of `{name}`.", "What can I call on a {name} object?"),
    "code": ("Explain this code:\n{fact}", "What does this code do?\n{fact}", "{fact}\n\nCan you say in one sentence what this does?"),
}

Answer = tuple[str, str]
"""The fact the question quotes (empty for none), and the answer."""


def ask(definition: Definition, kinds: Sequence[QuestionKind]) -> Iterator[tuple[QuestionKind, str, str]]:
    """(kind, question, answer) for every fact the entry has; a topic of the language reference has none."""
    if definition.kind == "topic":
        return
    for kind in kinds:
        found = ANSWERS[kind](definition)
        if found is not None:
            fact, answer = found
            # what the question names decides its wording, so that two entries asked the same are asked it in the same words
            subject = definition.qualified_name if "{name}" in PHRASES[kind][0] else fact
            words = {"name": definition.qualified_name, "noun": definition.kind, "parent": parent(definition), "fact": fact}
            yield kind, choose(PHRASES[kind], f"{kind}\n{subject}").format_map(words), answer


def choose(options: Sequence[str], key: str) -> str:
    """One of the options, by a hash: the same in every run, and all of them over many keys."""
    return options[int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % len(options)]


def parent(definition: Definition) -> str:
    """Class or module it belongs to."""
    return definition.qualified_name.rpartition(".")[0] or definition.module


SENTENCE_END = re.compile(r"(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!cf\.)(?<!vs\.)(?<=[.!?])\s+(?=[A-Z\"'`*<(\[])")


@functools.lru_cache(maxsize=16)  # several kinds ask for those of one entry
def sentences(docstring: str) -> list[str]:
    """The sentences of its prose: paragraphs with doctests, lists and code are left out."""
    found = []
    for number, paragraph in enumerate(docstring.split("\n\n")):
        lines = paragraph.splitlines()
        if number > 0 and any(line.startswith((" ", "\t", "-", "*", "+", ">>>", "::")) for line in lines):
            continue
        found += SENTENCE_END.split(" ".join(paragraph.split()))
    return found


def first_sentence(definition: Definition) -> str | None:
    """What the docstring opens with, when that is a sentence and no heading, call or doctest."""
    found = sentences(definition.docstring)
    opening = found[0] if found else ""
    is_call = "->" in opening or re.match(r"[\w.]+\(", opening) or ">>>" in opening
    if is_call or len(opening.split()) < 3 or not opening[0].isalpha():
        return None
    return opening if opening[-1] in ".!?" else f"{opening}."


def purpose(definition: Definition) -> Answer | None:
    """The first sentence."""
    sentence = first_sentence(definition)
    return None if sentence is None else ("", sentence)


def lookup(definition: Definition) -> Answer | None:
    """The name for the first sentence, unless the sentence gives it away."""
    sentence = first_sentence(definition)
    if sentence is None or definition.kind == "module" or definition.name.lower() in re.findall(r"\w+", sentence.lower()):
        return None
    return sentence, definition.qualified_name


def signature(definition: Definition) -> Answer | None:
    """The signature."""
    return None if definition.signature is None else ("", definition.signature)


def parameters(definition: Definition) -> Answer | None:
    """The names of the parameters."""
    return ("", ", ".join(name for name, _ in definition.parameters)) if definition.parameters else None


def default(definition: Definition) -> Answer | None:
    """One of the defaults."""
    defaults = {name: value for name, value in definition.parameters if value is not None}
    if not defaults:
        return None
    name = choose(list(defaults), definition.qualified_name)
    return name, defaults[name]


def raises(definition: Definition) -> Answer | None:
    """The exceptions."""
    return ("", ", ".join(definition.raises)) if definition.raises else None


def returns(definition: Definition) -> Answer | None:
    """The sentence about what comes back, when it is not the first, which answers the purpose."""
    found = [sentence for sentence in sentences(definition.docstring)[1:] if re.match(r"Returns?\b", sentence)]
    return ("", found[0]) if found and definition.kind in ("function", "method") else None


def example(definition: Definition) -> Answer | None:
    """The first doctest."""
    for paragraph in definition.docstring.split("\n\n"):
        lines = paragraph.splitlines()
        start = next((number for number, line in enumerate(lines) if line.lstrip().startswith(">>>")), None)
        if start is not None:
            indent = len(lines[start]) - len(lines[start].lstrip())
            return "", "\n".join(line[indent:] for line in lines[start:])
    return None


def module(definition: Definition) -> Answer | None:
    """The module of a function or class at its top level."""
    if definition.kind not in ("function", "class") or parent(definition) != definition.module:
        return None
    return definition.name, definition.module


def methods(definition: Definition) -> Answer | None:
    """The public methods of a class."""
    return ("", ", ".join(definition.methods)) if 1 < len(definition.methods) <= MAX_METHODS else None


def code(definition: Definition) -> Answer | None:
    """What the source does, in the words of the docstring that was taken out of it."""
    sentence = first_sentence(definition)
    return (definition.code, sentence) if definition.code and sentence else None


ANSWERS: dict[QuestionKind, Callable[[Definition], Answer | None]] = {
    "purpose": purpose, "lookup": lookup, "signature": signature, "parameters": parameters, "default": default, "raises": raises,
    "returns": returns, "example": example, "module": module, "methods": methods, "code": code,
}  # fmt: skip
