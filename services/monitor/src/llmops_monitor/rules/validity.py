"""Whether an answer keeps the format that was asked for or that it began."""

import json
import re

from llmops_monitor.rules.words import Words

FENCED = re.compile(r"```(\w*)[^\n]*\n(.*?)```", re.DOTALL)
ASKS_FOR_JSON = re.compile(r"\b(?:in|as|valid|return|output|respond with|a|only)\s+(?:a\s+|valid\s+|only\s+)*json\b", re.IGNORECASE)


def format_valid(prompt: Words, response: Words) -> float | None:
    """1 valid, 0 not, None where there is no format to keep.

    JSON: asked for, begun with a bracket, or in a fence that says so, has to parse. Code fences have to be closed.
    """
    content = response.content
    fenced = "```" in content
    if fenced and content.count("```") % 2:
        return 0.0
    asked = "json" in prompt.distinct and ASKS_FOR_JSON.search(prompt.content) is not None
    opening = content.lstrip()[:2]
    begun = opening[:1] == "{" or opening == "[{" or opening == '["' or opening == "[["
    if not (asked or begun or fenced):
        return None
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
