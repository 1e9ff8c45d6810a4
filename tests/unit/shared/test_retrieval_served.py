"""Embedders and rerankers that somebody serves: exact requests over loopback, in the shapes of TEI, SageMaker and Bedrock."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import botocore.session
import numpy as np
import pytest

from llmops_shared.contracts import index, retrieval
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.bedrock import BedrockEmbedder, BedrockReranker
from llmops_shared.retrieval.embedder import open_embedder
from llmops_shared.retrieval.rerank import open_reranker, reranked
from llmops_shared.retrieval.sagemaker import SageMakerEmbedder
from llmops_shared.retrieval.store import FoundChunk
from llmops_shared.retrieval.tei import TeiEmbedder, TeiReranker
from support.aws_model import problems
from support.loopback import Answer, Request, loopback
from support.sigv4 import ACCESS_KEY, SECRET_KEY, signature_problem

TEXTS = [f"text number {number}" for number in range(70)]


def vector_of(text: str) -> list[float]:
    """Something that tells texts apart, not of length 1."""
    return [float(len(text)), float(sum(text.encode()) % 97), 1.0]


def unit(texts: list[str]) -> Any:
    vectors = np.array([vector_of(text) for text in texts], dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Tei:
    """A server of Text Embeddings Inference with its limit of 32 texts; busy for the first `busy` requests."""

    def __init__(self, busy: int = 0) -> None:
        self.busy = busy
        self.bodies: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer:
        body = json.loads(request.body)
        with self._lock:
            self.bodies.append(body)
            if self.busy:
                self.busy -= 1
                return 429, {"error": "Model is overloaded", "error_type": "overloaded"}
        texts = body.get("inputs", body.get("texts"))
        if len(texts) > 32:
            return 413, {"error": f"batch size {len(texts)} > maximum allowed batch size 32", "error_type": "validation"}
        if request.target == "/embed":
            return 200, [vector_of(text) for text in texts]
        scored = [{"index": place, "score": len(set(text.split()) & set(body["query"].split()))} for place, text in enumerate(texts)]
        return 200, sorted(scored, key=lambda one: -one["score"])


def test_tei_embeds_in_batches_and_keeps_the_order() -> None:
    server = Tei(busy=2)
    with loopback(server.answer) as url:
        embedder = TeiEmbedder(url + "/", None)
        vectors = embedder.embed([*TEXTS, "", " "])

    assert embedder.num_dimensions == 3
    assert vectors[:70] == pytest.approx(unit(TEXTS), abs=1e-6)
    assert not vectors[70:].any()  # nothing was asked about them
    assert {key: value for key, value in server.bodies[-1].items() if key != "inputs"} == {"normalize": True, "truncate": True}


def test_tei_reranks_and_equal_scores_stay_in_order() -> None:
    chunks = [
        FoundChunk(str(number), "d", f"text {number} about {'copy trees' if number == 40 else 'nothing'}", 0.5) for number in range(45)
    ]
    with loopback(Tei().answer) as url:
        found = reranked(TeiReranker(url), "how to copy trees", chunks)

    assert [chunk.chunk_id for chunk in found] == ["40", *(str(number) for number in range(45) if number != 40)]
    assert (found[0].rerank_score, found[0].score) == (2.0, 0.5)
    assert reranked(TeiReranker("http://127.0.0.1:9"), "anything", []) == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, {"embeddings": []}), "gave 0 vectors for 1 texts; is a model for embeddings served there"),
        ((200, [[1.0, 2.0], [1.0, 2.0]]), "gave 2 vectors for 1 texts"),
        ((200, b"<html>"), "answers no JSON; is it a Text Embeddings Inference server"),
        ((424, {"error": "inference failed"}), r"answers 424 \(.*inference failed"),
    ],
)
def test_what_is_no_embedding_server_is_told(answer: Answer, message: str) -> None:
    with loopback(lambda _: answer) as url, pytest.raises(LlmopsError, match=message):
        TeiEmbedder(url, None)


def test_another_model_than_the_indexs_is_told() -> None:
    with loopback(Tei().answer) as url, pytest.raises(LlmopsError, match="gives 3 dimensions, and the index has 384"):
        TeiEmbedder(url, 384).embed(["a"])


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(LlmopsError, match=r"http://127.0.0.1:9/rerank: does not answer .*start the server, or correct its url"):
        TeiReranker("http://127.0.0.1:9").scores("a", ["b"])


class Aws:
    """An AWS service that checks signature and request; `respond` makes the answer."""

    def __init__(self, service: str, operation: str, signs: str, respond: Callable[[str, Any], Any]) -> None:
        self._shape = botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape
        self._signs, self._respond = signs, respond
        self.bodies: list[Any] = []

    def answer(self, request: Request) -> Answer:
        target = request.target.replace("%3A", "%253A")  # what was signed escapes the path twice
        problem = signature_problem(request.method, target, request.headers, request.body, self._signs, "us-east-1")
        body = json.loads(request.body)
        if problem is None and "payload" not in self._shape.serialization:
            problem = "; ".join(problems(self._shape, body))
        if problem:
            return 403, {"message": problem}
        self.bodies.append(body)
        return 200, self._respond(unquote(request.target), body)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Aws]]:
    """Starts a service and points boto3 at it."""
    from contextlib import ExitStack

    for name, value in {"ACCESS_KEY_ID": ACCESS_KEY, "SECRET_ACCESS_KEY": SECRET_KEY, "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with ExitStack() as stack:

        def start(service: str, operation: str, signs: str, variable: str, respond: Callable[[str, Any], Any]) -> Aws:
            one = Aws(service, operation, signs, respond)
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{variable}", stack.enter_context(loopback(one.answer)))
            return one

        yield start


def test_sagemaker_embeds_with_the_container_of_tei(aws: Callable[..., Aws]) -> None:
    def respond(target: str, body: Any) -> Any:
        assert target == "/endpoints/embedder/invocations"
        return [vector_of(text) for text in body["inputs"]]

    service = aws("sagemaker-runtime", "InvokeEndpoint", "sagemaker", "SAGEMAKER_RUNTIME", respond)

    vectors = SageMakerEmbedder("embedder", "us-east-1", 3).embed(TEXTS)

    assert vectors == pytest.approx(unit(TEXTS), abs=1e-6)
    assert sorted(len(body["inputs"]) for body in service.bodies) == [6, 32, 32]


def test_titan_takes_one_text_a_call_and_the_dimensions_asked_for(aws: Callable[..., Aws]) -> None:
    def respond(target: str, body: Any) -> Any:
        assert target == "/model/amazon.titan-embed-text-v2:0/invoke"
        return {"embedding": vector_of(body["inputText"]), "inputTextTokenCount": 3}

    service = aws("bedrock-runtime", "InvokeModel", "bedrock", "BEDROCK_RUNTIME", respond)
    found = BedrockEmbedder("amazon.titan-embed-text-v2:0", "us-east-1", None)

    assert found.num_dimensions == 3
    assert service.bodies == [{"inputText": "dimensions", "normalize": True}]
    assert found.embed(TEXTS[:9]) == pytest.approx(unit(TEXTS[:9]), abs=1e-6)
    with pytest.raises(LlmopsError, match="gives 3 dimensions, and the index has 256"):
        BedrockEmbedder("amazon.titan-embed-text-v2:0", "us-east-1", 256).embed(["a"])
    assert service.bodies[-1] == {"inputText": "a", "normalize": True, "dimensions": 256}


def test_cohere_is_told_questions_from_documents(aws: Callable[..., Aws]) -> None:
    def respond(_: str, body: Any) -> Any:
        return {"embeddings": {"float": [vector_of(text) for text in body["texts"]]}, "response_type": "embeddings_by_type"}

    service = aws("bedrock-runtime", "InvokeModel", "bedrock", "BEDROCK_RUNTIME", respond)
    embedder = open_embedder(
        index.Embedder(kind="bedrock", model="cohere.embed-multilingual-v3", files=[], num_dimensions=3, region="us-east-1"), "index.json"
    )

    embedder.embed(["a document " * 1000])
    embedder.embed_questions(["a question"])

    kind = {"truncate": "END", "embedding_types": ["float"]}
    assert service.bodies[1] == {"texts": ["a question"], "input_type": "search_query", **kind}
    assert service.bodies[0]["input_type"] == "search_document"
    assert len(service.bodies[0]["texts"][0]) == 2048  # Cohere refuses a longer one


def test_bedrocks_refusal_is_told_and_unknown_models_are(aws: Callable[..., Aws]) -> None:
    aws("bedrock-runtime", "InvokeModel", "bedrock", "BEDROCK_RUNTIME", lambda *_: {"message": "no vector"})

    with pytest.raises(LlmopsError, match="Bedrock model amazon.titan-embed-text-v2:0: .*expected bedrock in us-east-1"):
        BedrockEmbedder("amazon.titan-embed-text-v2:0", "eu-west-1", 3).embed(["a"])
    with pytest.raises(LlmopsError, match="its answer has no embedding"):
        BedrockEmbedder("amazon.titan-embed-text-v2:0", "us-east-1", 3).embed(["a"])
    with pytest.raises(LlmopsError, match=r"Bedrock model meta.llama3: is neither amazon.titan-embed-... nor cohere.embed-"):
        BedrockEmbedder("meta.llama3", "us-east-1", 3)


def test_bedrock_reranks_by_its_own_model_of_a_request(aws: Callable[..., Aws]) -> None:
    def respond(target: str, body: Any) -> Any:
        assert target == "/rerank"
        return {"results": [{"index": place, "relevanceScore": 1 - place / 10} for place in (2, 0, 1)]}

    service = aws("bedrock-agent-runtime", "Rerank", "bedrock", "BEDROCK_AGENT_RUNTIME", respond)
    arn = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"

    scores = open_reranker(retrieval.Reranker(kind="bedrock", model=arn)).scores("question", ["a", "b", "c"])

    assert scores == [1.0, 0.9, 0.8]
    assert service.bodies[0]["rerankingConfiguration"] == {
        "type": "BEDROCK_RERANKING_MODEL",
        "bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": arn}, "numberOfResults": 3},
    }
    with pytest.raises(LlmopsError, match="gave 3 scores for 4 texts"):
        BedrockReranker(arn, "").scores("question", ["a", "b", "c", "d"])


@pytest.mark.slow
def test_a_cross_encoder_that_runs_here_scores_as_its_model_does(tmp_path: Any) -> None:
    """A real model of two layers, made here, and the same numbers from transformers."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"how to copy a tree delete json text".split()]))
    tokenizer = BertTokenizerFast(vocab_file=str(vocabulary))
    torch.manual_seed(0)
    config = BertConfig(vocab_size=13, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=1)
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    texts = ["copy a tree", "delete a tree", "json text"]

    scores = open_reranker(retrieval.Reranker(kind="cross-encoder", model=str(tmp_path / "model"))).scores("how to copy", texts)

    with torch.no_grad():
        logits = model(**tokenizer(["how to copy"] * 3, texts, return_tensors="pt", padding=True)).logits[:, 0]
    assert scores == pytest.approx(torch.sigmoid(logits).tolist(), abs=1e-5)
