"""Whether a prompt, or what was retrieved for it, tries to take over the model: the platform's own rules, on the texts that may."""

from llmops_monitor.rules.texts import Bools, Texts
from llmops_shared import attack
from llmops_shared.statistics import Floats


def injection(texts: Texts) -> Floats:
    """0 to 1: whether a text orders the model about."""
    return texts.look_at(texts.has_word(attack.INJECTION_TRIGGERS.__contains__), attack.injection)


def hidden_order(texts: Texts, are_wanted: Bools) -> Floats:
    """0 to 1: whether retrieved text holds an order to its reader; of the texts that are wanted."""
    return texts.look_at(are_wanted, attack.hidden_order)


def jailbreak(texts: Texts) -> Floats:
    """0 to 1: whether a prompt asks the model to be something that has no rules."""
    return texts.look_at(texts.has_word(attack.JAILBREAK_TRIGGERS.__contains__), attack.jailbreak)
