"""lm-eval around our parts: its task and evaluator, our documents, our graders, our served model.

In: documents, demonstrations and an LLM client. Out: one ``Answer`` per document, in order, with the prompt
that lm-eval built. Everything of lm-eval is imported inside functions: it pulls in torch and datasets.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from webinstruct_assets.core.config import BenchmarkConfig
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.stages.evaluation.graders import Verdict, grade

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from lm_eval.api.task import ConfigurableTask

    from webinstruct_assets.core.llm.client import LlmClient

TASK_FILE = Path(__file__).parent / "tasks" / "chain_of_thought.yaml"


@dataclass(frozen=True)
class Answer:
    """A document's prompt, the model's reply and the grader's verdict on it."""

    prompt: str
    reply: LlmReply
    verdict: Verdict


def benchmark_task(
    name: str, config: BenchmarkConfig, documents: Sequence[dict[str, Any]], shown: Sequence[dict[str, Any]]
) -> "ConfigurableTask":
    """The lm-eval task of a benchmark on these documents, with these demonstrations in this order."""
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    task = yaml.safe_load(TASK_FILE.read_text(encoding="utf-8"))
    task["generation_kwargs"]["max_gen_toks"] = config.max_output_tokens

    def process_results(document: dict[str, Any], results: list[str]) -> dict[str, float]:
        return {"exact_match": float(grade(config.grader, results[0], document["answer"], document["choices"]).correct)}

    return ConfigurableTask(
        config={
            **task,
            "task": name,
            "custom_dataset": lambda **_: {"test": Dataset.from_list(list(documents))},
            "num_fewshot": len(shown),
            "fewshot_config": {"sampler": "first_n", "samples": list(shown)} if shown else None,
            "process_results": process_results,
        }
    )


def served_model(client: "LlmClient", replies: list[LlmReply], on_reply: Callable[[], None]) -> "LM":
    """An lm-eval model over an endpoint's completions; leaves the replies (token counts, errors) in ``replies``."""
    from lm_eval.api.model import LM

    class ServedModel(LM):
        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            asked = [request_of(*request.args) for request in requests]
            replies.extend(client.complete(asked, on_reply=lambda index, reply: on_reply()))
            return [reply.text for reply in replies]

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            raise NotImplementedError("the tasks of this project generate text; they score no given text")

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            raise NotImplementedError("the tasks of this project generate text; they score no given text")

    return ServedModel()


def request_of(prompt: str, generation: dict[str, Any]) -> LlmRequest:
    """Greedy decoding to the task's stop strings."""
    return LlmRequest(
        prompt=prompt,
        max_tokens=int(generation["max_gen_toks"]),
        temperature=0.0,
        seed=0,
        stop=tuple(generation["until"]),
    )


def evaluate(
    name: str, config: BenchmarkConfig, documents: Sequence[dict[str, Any]], shown: Sequence[dict[str, Any]],
    client: "LlmClient", on_reply: Callable[[], None],
) -> list[Answer]:  # fmt: skip
    """Runs the benchmark through lm-eval's evaluator."""
    from lm_eval.evaluator import evaluate as harness_evaluate

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns that our data set takes no options
    replies: list[LlmReply] = []
    task = benchmark_task(name, config, documents, shown)
    results = harness_evaluate(
        served_model(client, replies, on_reply),
        {"tasks": {name: task}, "groups": {}},
        bootstrap_iters=0,
        log_samples=True,
    )
    assert results is not None  # None is what other ranks than the first return, and there is only one
    samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
    answers = []
    for sample, reply, document in zip(samples, replies, documents, strict=True):
        verdict = grade(config.grader, reply.text, document["answer"], document["choices"])
        if float(verdict.correct) != sample["exact_match"] or sample["doc"]["item_id"] != document["item_id"]:
            raise AssertionError(f"{name} {document['item_id']}: lm-eval's score differs from the grader's")
        answers.append(Answer(sample["arguments"][0][0], reply, verdict))
    return answers
