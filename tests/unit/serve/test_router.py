"""Which variant answers and what is sampled: by the request id alone."""

from llmops_serve.router import choose, is_sampled, share
from support.serving import variant

IDS = [f"request-{number}" for number in range(4000)]


def test_variants_answer_as_often_as_their_weights_say():
    variants = [variant("first", weight=3), variant("second", weight=1), variant("never", weight=0)]

    chosen = [choose(variants, request_id).name for request_id in IDS]

    assert 0.72 < chosen.count("first") / len(IDS) < 0.78
    assert chosen.count("never") == 0
    assert chosen == [choose(variants, request_id).name for request_id in IDS]


def test_the_sample_has_the_size_asked_for():
    assert 0.22 < sum(is_sampled(request_id, 0.25) for request_id in IDS) / len(IDS) < 0.28
    assert all(is_sampled(request_id, 1.0) for request_id in IDS)
    assert not any(is_sampled(request_id, 0.0) for request_id in IDS)


def test_sample_and_choice_are_independent():
    sampled = [request_id for request_id in IDS if is_sampled(request_id, 0.5)]

    assert 0.45 < sum(share(request_id, "variant") < 0.5 for request_id in sampled) / len(sampled) < 0.55
