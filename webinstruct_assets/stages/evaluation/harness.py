"""lm-eval around our parts: its task and evaluator, our documents, our graders, our served model.

In: documents, demonstrations and an LLM client. Out: one ``Answer`` per document, in order, with the prompt
that lm-eval built. Its score and ours are the corrected grader's. Everything of lm-eval is imported inside functions: it pulls in torch and datasets.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from webinstruct_assets.core.config import BenchmarkConfig
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.stages.evaluation.grading import Verdicts, grade_document, grade_documents

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from lm_eval.api.task import ConfigurableTask

    from webinstruct_assets.core.llm.client import LlmClient

TASKS = Path(__file__).parent / "tasks"


@dataclass(frozen=True)
class Answer:
    """A document's prompt, the model's reply and the graders' verdicts on it."""

    prompt: str
    reply: LlmReply
    verdicts: Verdicts


def benchmark_task(
    name: str, config: BenchmarkConfig, documents: Sequence[dict[str, Any]], shown: Sequence[dict[str, Any]],
    verdicts: dict[str, Verdicts] | None = None,
) -> "ConfigurableTask":  # fmt: skip
    """The lm-eval task of a benchmark on these documents, with these demonstrations in this order.

    ``verdicts``: those known already, by item id, so that no completion is graded twice.
    """
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    task = yaml.safe_load((TASKS / f"{config.task}.yaml").read_text(encoding="utf-8"))
    task["generation_kwargs"]["max_gen_toks"] = config.max_output_tokens
    known = verdicts or {}

    def process_results(document: dict[str, Any], results: list[str]) -> dict[str, float]:
        verdict = known.get(document["item_id"]) or grade_document(config, document, results[0])
        return {"exact_match": float(verdict.corrected.correct)}

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


def benchmark_tasks(
    name: str, config: BenchmarkConfig, documents: Sequence[dict[str, Any]], shown: Sequence[dict[str, Any]],
    verdicts: dict[str, Verdicts] | None = None,
) -> "dict[str, ConfigurableTask]":  # fmt: skip
    """One task, or one per subject with that subject's demonstrations where the benchmark has them by subject."""
    if not config.fewshot_by_subject:
        return {name: benchmark_task(name, config, documents, shown, verdicts)}
    tasks = {}
    for subject in dict.fromkeys(document["subject"] for document in documents):
        own = [document for document in documents if document["subject"] == subject]
        shots = [document for document in shown if document["subject"] == subject]
        tasks[f"{name}-{subject}"] = benchmark_task(f"{name}-{subject}", config, own, shots, verdicts)
    return tasks


def served_model(
    config: BenchmarkConfig, client: "LlmClient", replies: dict[str, LlmReply], verdicts: dict[str, Verdicts],
    on_reply: Callable[[], None],
) -> "LM":  # fmt: skip
    """An lm-eval model over an endpoint's completions; leaves replies (token counts, errors) and verdicts by item id."""
    from lm_eval.api.model import LM

    class ServedModel(LM):
        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            asked = [request_of(*request.args) for request in requests]
            replied = client.complete(asked, on_reply=lambda index, reply: on_reply())
            answers = [cut(reply, request.args[1]["until"]) for request, reply in zip(requests, replied, strict=True)]
            documents = [request.doc for request in requests]
            graded = grade_documents(
                config, [(document, reply.text) for document, reply in zip(documents, answers, strict=True)]
            )
            for document, reply, verdict in zip(documents, answers, graded, strict=True):
                replies[document["item_id"]] = reply
                verdicts[document["item_id"]] = verdict
            return [reply.text for reply in answers]

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            raise NotImplementedError("the tasks of this project generate text; they score no given text")

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            raise NotImplementedError("the tasks of this project generate text; they score no given text")

    return ServedModel()


# As many stop strings as OpenAI's endpoints take, and vLLM's with them.
MAX_STOPS = 4


def request_of(prompt: str, generation: dict[str, Any]) -> LlmRequest:
    """Greedy decoding to the first of the task's stop strings; ``cut`` sees to all of them."""
    return LlmRequest(
        prompt=prompt,
        max_tokens=int(generation["max_gen_toks"]),
        temperature=0.0,
        seed=0,
        stop=tuple(generation["until"][:MAX_STOPS]),
    )


def cut(reply: LlmReply, until: Sequence[str]) -> LlmReply:
    """The reply up to where the first of the stop strings begins."""
    found = [at for stop in until if (at := reply.text.find(stop)) >= 0]
    return replace(reply, text=reply.text[: min(found)], finish_reason="stop") if found else reply


def evaluate(
    name: str, config: BenchmarkConfig, documents: Sequence[dict[str, Any]], shown: Sequence[dict[str, Any]],
    client: "LlmClient", on_reply: Callable[[], None],
) -> list[Answer]:  # fmt: skip
    """Runs the benchmark through lm-eval's evaluator."""
    from lm_eval.evaluator import evaluate as harness_evaluate

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns that our data set takes no options
    replies: dict[str, LlmReply] = {}
    verdicts: dict[str, Verdicts] = {}
    tasks = benchmark_tasks(name, config, documents, shown, verdicts)
    results = harness_evaluate(
        served_model(config, client, replies, verdicts, on_reply),
        {"tasks": tasks, "groups": {}},
        bootstrap_iters=0,
        log_samples=True,
    )
    assert results is not None  # None is what other ranks than the first return, and there is only one
    samples = {sample["doc"]["item_id"]: sample for task in tasks for sample in results["samples"][task]}
    answers = []
    for document in documents:
        item_id = document["item_id"]
        sample, reply, verdict = samples[item_id], replies[item_id], verdicts[item_id]
        if sample["resps"][0][0] != reply.text or sample["exact_match"] != float(verdict.corrected.correct):
            raise AssertionError(f"{name} {item_id}: lm-eval's sample is not the reply that was graded")
        answers.append(Answer(sample["arguments"][0][0], reply, verdict))
    return answers
