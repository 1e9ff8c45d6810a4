"""Whether a prompt, or what was retrieved for it, tries to take over the model."""

# ruff: noqa: E501, SIM905 - long lists read better as they are

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol


class Split(Protocol):
    """A text and its words, as `llmops_shared.words.Words` has them."""

    @property
    def lower(self) -> str:
        """Lower case, with plain apostrophes."""

    @property
    def words(self) -> list[str]:
        """In order."""

    @property
    def distinct(self) -> set[str]:
        """Each word once."""


LOOKED_AT = 6000
"""Characters."""

INJECTION_TRIGGERS = frozenset(
    "ignore disregard forget override bypass previous prior instructions instruction system prompt reveal repeat print verbatim response "
    "told instructed supposed initial initially initialization answer reply output responses answers replies respond code snippet append insert incorporate embed integrate include add ensure".split()
)
# a text has one of the pieces on the left where the pattern matches: they are looked for many times as fast
INJECTION = (
    ("ignore|disregard|forget|override|bypass|skip|drop|follow", r"\b(?:ignore|disregard|forget|override|bypass|skip|drop|do not follow|don't follow)\b.{0,30}\b(?:previous|prior|above|earlier|preceding|all|any|your|the|these|those)\b.{0,30}\b(?:instruction|prompt|direction|rule|guideline|context|message|polic|command|text|programming|training)", 0.95),
    ("system message|prompt|instruction|guidelines|directives|configuration|rules", r"\b(?:reveal|show|print|repeat|tell|give|display|output|share|what (?:is|are|was|were)|disclose|leak|recite|summari[sz]e|return|copy|write|list|explain|describe|include)\b.{0,50}\b(?:system prompt|system message|initial (?:prompt|instruction)|(?:your|the|hidden|secret|original) (?:\w+ )?(?:instructions|prompt|guidelines|directives|configuration|rules)\b|instructions you (?:were|have been))", 0.85),
    ("system|init|i was |text you|prompt you|instruction|told|given|supposed|allowed", r"\bsystem[ _-](?:prompt|message|instructions?)\b|\b(?:initial|init\w*) (?:prompt|configuration|string)|\bi was (?:instructed|told|programmed) to\b|\b(?:text|prompt|instructions?) you (?:were|have been|got)\b|\byou (?:were )?(?:told|given|instructed)\b.{0,30}\b(?:before|initially|at the (?:start|beginning))|\bnot (?:supposed|allowed) to (?:tell|say|reveal|share)\b", 0.6),
    ("above|before|beginning of", r"\b(?:above|before) this (?:line|text|message|point)|\b(?:everything|all (?:the )?text|words|text|content) (?:above|before)\b|beginning of (?:this|the|our) conversation", 0.6),
    ("<|[|##|end of", r"(?:</?(?:system|instructions?|im_start|im_end|s|inst)>|\[/?(?:inst|system)\]|<\|[a-z_]+\|>|###? ?(?:system|instruction)\b|\bend of (?:prompt|context|document)\b)", 0.5),
    ("instruction|task|objective|directive", r"\b(?:new|updated|real|actual|following) (?:instructions?|task|objective|directive)s?\b.{0,12}[:.]", 0.35),
    # what an attack hidden in a document does to the answer
    ("answer|response|reply|replies|output", r"\b(?:in|to|of|into|from|within|throughout|with|for|modify|change|make|ensure|end|begin|start|conclude|format|write|craft|rewrite|rearrange|convert|translate|present|encode|express|rephrase|fill|replace|remove|group|your)\b.{0,25}\b(?:your|the) (?:\w+ )?(?:answer|response|reply|output|replies|responses|answers)\b", 0.75),
    ("answer|response|reply|replies|output", r"\b(?:provide|give|offer|deliver|write|craft|supply|respond|answer|reply|use|add|integrate|insert|include|incorporate|embed|append|mention)\b.{0,60}\b(?:answer|response|reply|output|replies|responses|answers)\b", 0.5),
    ("following|subsequent|next|below|given|ensuing", r"\b(?:utili[sz]e|incorporate|integrate|append|include|embed|insert|inject|use|adopt|merge|meld|weave|execute|consider|embody|encompass|add|inclusion|place|involve|employ|implement|combine|infuse|manifestation|infusion|put)\b.{0,60}\b(?:following|subsequent|next|below|given|ensuing)\b.{0,20}\b(?:code|script|snippet|function|block|excerpt|lines?)\b", 0.8),
    ("code|script|snippet|excerpt|block", r"\b(?:code|script|snippet|excerpt|block)\b.{0,30}\b(?:into|in|to|within|of) (?:your|the) (?:\w+ )?(?:code|solution|implementation|codebase|response|answer|program|project|script)", 0.7),
)  # fmt: skip
# an order or a question to the reader on a line or at the end of a document that is otherwise no conversation
ORDER = re.compile(
    r"(?:^|[\n|.!?>]\s*)(?:please )?(?:what (?:is|are|was|does)|how (?:do|does|can|to)|why|who|explain|describe|translate|write|draft|create|compose|"
    r"provide|summari[sz]e|define|compare|list|give|tell|generate|design|can you|could you|who)\b[^\n|.]{8,140}[.?!'\"]\s*$"
)

JAILBREAK_TRIGGERS = frozenset(
    "dan jailbreak jailbroken jailbreaking pretend pretending roleplay role act acting character persona simulate hypothetical fictional unfiltered uncensored "
    "restrictions restriction limitations guidelines policy policies ethics ethical morals moral amoral illegal filter filters censorship rules "
    "developer mode chatgpt openai evil stay refuse refusing immoral anything unethical disclaimer warnings".split()
)
JAILBREAK = (
    ("mode|jailbr|do anything|prompt", r"\b(?:do anything now|jailbr[eo]\w+|\bdan\b.{0,30}(?:mode|do anything|prompt)|developer mode|god mode|dev mode|evil mode|opposite mode|unfiltered mode|\w+ mode (?:enabled|on|activated))", 0.85),
    ("", r"\b(?:you are|you're|you will be|you shall be|you to be|act(?:ing)? as|play(?:ing)?|pretend(?:ing)? (?:to be|that you|you)|role ?-?play(?:ing)?(?: as)?|simulat\w+|imitat\w+|impersonat\w+|embody|portray|become|respond as|answer as|speak as|immerse yourself|assume the)\b", 0.35),
    ("restriction|limit|filter|censor|guideline|moral|ethic|rule|polic|legal|boundar|consequences|disclaimer|warning|law|safety|constraint", r"\b(?:no|without|free (?:of|from)|not (?:bound|limited|restricted|constrained)(?: by| to)?|any|remove[sd]?|ignor\w+|break\w*|bypass\w*|lack\w*|does not (?:have|care|follow)|doesn't (?:have|care|follow)|disregard\w*|regardless|violat\w+|avoid)\b.{0,40}\b(?:restrictions?|limit(?:ation)?s?|filter(?:s|ing)?|censor\w*|guidelines?|moral\w*|ethic\w*|rules?|polic(?:y|ies)|legal\w*|boundar\w+|consequences|disclaimers?|warnings?|laws?|safety|constraints?)\b", 0.6),
    ("uncensored|unfiltered|moral|unethical|unrestricted|unbiased|illegality", r"\b(?:uncensored|unfiltered|amoral|unethical|immoral|unrestricted|unbiased|no morals|illegality)\b", 0.45),
    ("refus|declin|reject|say|apologi|warn|character|mention|moraliz|include|state that", r"\b(?:never|do not|don't|cannot|can't|must not|will not|won't|without) (?:ever )?(?:refus\w+|declin\w+|reject|say (?:that )?(?:you|no|\"?i)|apologi[sz]e|warn|break character|mention|moraliz\w+|include (?:any )?(?:disclaimer|warning)|state that)", 0.6),
    ("stay|remain|keep|stick", r"\b(?:stay|remain|staying|keep|stick) (?:in|to|with|as) (?:the |your |this |a )?(?:character|role|persona|dan\b|\w+ at all times)", 0.5),
    ("openai|gpt|language model|your creator|anthropic|as an ai", r"\b(?:openai|chatgpt|chat gpt|gpt-?[34o]|language model|your creators?|anthropic|as an ai)\b", 0.4),
    ("hypothetical|fiction|story|scenario|world|game|universe|fantasy|roleplay", r"\bhypothetical(?:ly)?|fictional|fiction\b|in (?:this|a) (?:story|scenario|world|game|universe)|\bfantasy\b|\broleplay\b", 0.25),
    ("from now on|for the rest|throughout|at all times|in every|always|every time", r"\b(?:from now on|for the rest of (?:this|the|our)|throughout (?:this|the|our)|at all times|in every (?:response|reply|answer)|always (?:answer|respond|reply|stay|start|say)|every time (?:i|you))\b", 0.45),
    ("two|both|dual|2|🔓|🔒|classic|jailbreak", r"\b(?:two|both|dual|2) (?:different )?(?:responses|answers|ways|outputs|paragraphs|personalities)\b|\[?(?:🔓|🔒|classic|jailbreak)\]?", 0.4),
    ("my first|my next|respond with|if you understand|to start|say", r"\b(?:my (?:first|next) (?:request|question|prompt|command|message|sentence)|respond with (?:\"|'|ok|understood|yes)|if you understand|to start|say \"?(?:ok|yes|understood|i understand))", 0.35),
    ("illegal|nsfw|explicit|offensive|harmful|dangerous|racis|sexual|violent|immoral|controversial|inappropriate|malicious|swear|curse|profanity|erotic", r"\b(?:illegal|nsfw|explicit|offensive|harmful|dangerous|racis[tm]|sexual|violent|immoral|controversial|inappropriate|malicious|swear\w*|curse|profanity|erotic)\b", 0.3),
    ("character|persona|scene|narrator|dialogue|story", r"\b(?:character|persona|personality|scene|narrator|dialogue|story)\b", 0.15),
)  # fmt: skip


class Pattern(NamedTuple):
    """What makes an attack likely."""

    needs: tuple[str, ...]
    """Pieces of text, one of which is there where it matches; an empty one is in every text."""
    finds: Callable[[str], object]
    weight: float
    """How sure it makes of an attack."""


def compiled(listed: Iterable[tuple[str, str, float]]) -> list[Pattern]:
    """The patterns of a table."""
    return [Pattern(tuple(needs.split("|")), re.compile(pattern, re.DOTALL).search, weight) for needs, pattern, weight in listed]


COMPILED_INJECTION = compiled(INJECTION)
COMPILED_JAILBREAK = compiled(JAILBREAK)


def likelihood(lower: str, patterns: Iterable[Pattern]) -> float:
    """0 to 1: how sure the patterns that match make of an attack."""
    looked_at, doubt = lower[:LOOKED_AT], 1.0
    for needs, finds, weight in patterns:
        if any(need in looked_at for need in needs) and finds(looked_at):
            doubt *= 1 - weight
    return 1 - doubt


def injection(text: Split) -> float:
    """0 to 1: whether a text orders the model about. For a user's prompt and for retrieved text alike."""
    return 0.0 if INJECTION_TRIGGERS.isdisjoint(text.distinct) else likelihood(text.lower, COMPILED_INJECTION)


def hidden_order(context: Split) -> float:
    """0 to 1: whether retrieved text holds an order to its reader; what people write to each other gives low figures, too."""
    found = injection(context)
    if ends_with_order(context.lower[-400:]) or ends_with_order(context.lower[:200].partition("\n")[0]):
        found = 1 - (1 - found) * 0.6
    return found


def ends_with_order(lower: str) -> bool:
    """Whether a text ends with an ORDER: it has to lie behind the last line or sentence, so that no more is searched."""
    said = lower.rstrip()
    if not said.endswith((".", "?", "!", "'", '"')):
        return False
    begin = max(said.rfind(sign, 0, len(said) - 1) for sign in "\n|.")
    return ORDER.search(lower, max(0, begin)) is not None


def jailbreak(text: Split) -> float:
    """0 to 1: whether a prompt asks the model to be something that has no rules."""
    if JAILBREAK_TRIGGERS.isdisjoint(text.distinct):
        return 0.0
    # such prompts are long: people rarely write fifty words about the role a model is to play
    return likelihood(text.lower, COMPILED_JAILBREAK) * min(1.0, 0.5 + len(text.words) / 120)
