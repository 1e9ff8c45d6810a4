"""Whether an answer keeps the format that was asked for or that it began."""

import json
import math
import re

import numpy as np

from llmops_monitor.rules.texts import Texts
from llmops_shared.statistics import Floats

FENCED = re.compile(r"```(\w*)[^\n]*\n(.*?)```", re.DOTALL)
ASKS_FOR_JSON = re.compile(r"\b(?:in|as|valid|return|output|respond with|a|only)\s+(?:a\s+|valid\s+|only\s+)*json\b", re.IGNORECASE)
JSON = frozenset({"json"})


def format_valid(prompts: Texts, responses: Texts) -> Floats:
    """1 valid, 0 not, NaN where there is no format to keep.

    JSON: asked for, begun with a bracket, or in a fence that says so, has to parse. Code fences have to be closed.
    """
    name_json = prompts.has_word(JSON.__contains__)
    figures = np.full(len(responses), math.nan)
    for place in np.flatnonzero(name_json | (responses.count_at(responses.find_signs(b"`{[")) > 0)).tolist():
        asked = bool(name_json[place]) and ASKS_FOR_JSON.search(prompts.contents[place]) is not None
        figures[place] = keeps_format(asked, responses.contents[place])
    return figures


def keeps_format(asked: bool, content: str) -> float:
    """The figure of one answer, for which JSON was asked or not."""
    fenced = "```" in content
    if fenced and content.count("```") % 2:
        return 0.0
    opening = content.lstrip()[:2]
    begun = opening[:1] == "{" or opening == "[{" or opening == '["' or opening == "[["
    if not (asked or begun or fenced):
        return math.nan
    blocks = [body for kind, body in FENCED.findall(content) if kind.lower() == "json" or (asked and not kind)] if fenced else []
    if not blocks:
        if fenced and not asked:
            return 1.0
        blocks = [content]
    return float(all(parses(block) for block in blocks))


def parses(text: str) -> bool:
    """Whether a text is JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
