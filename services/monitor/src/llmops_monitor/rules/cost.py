"""What an answer cost."""

from llmops_monitor.rules.words import Exchanged


def cost(exchange: Exchanged, usd_per_1k_prompt_tokens: float, usd_per_1k_response_tokens: float) -> float:
    """US dollars, by the prices given."""
    return (exchange.num_prompt_tokens * usd_per_1k_prompt_tokens + exchange.num_response_tokens * usd_per_1k_response_tokens) / 1000
