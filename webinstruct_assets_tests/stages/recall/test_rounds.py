"""The loop over a crawl without an LLM: rounds, the stop rule, a borrowed model, and the funnel's numbers."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from webinstruct_assets.assets.plots import recall_funnel
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Stage, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.recall.fasttext_model import FASTTEXT_MODEL
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS
from webinstruct_assets.stages.recall.round1_domains import ROUND1_DOMAINS
from webinstruct_assets.stages.recall.round1_recall import ROUND1_RECALL
from webinstruct_assets.stages.recall.round2_domains import ROUND2_DOMAINS
from webinstruct_assets.stages.recall.round2_model import ROUND2_MODEL
from webinstruct_assets.stages.recall.round2_recall import ROUND2_RECALL
from webinstruct_assets.stages.recall.round2_seed_set import ROUND2_SEED_SET
from webinstruct_assets.stages.recall.rounds import later_stages
from webinstruct_assets.stages.seeds.seed_set import SEED_SET
from webinstruct_assets_tests.conftest import make_home, webinstruct
from webinstruct_assets_tests.crawls import configured, crawl

TWO_ROUNDS: tuple[Stage, ...] = (
    SEED_SET, FASTTEXT_MODEL, ROUND1_RECALL, ROUND1_DOMAINS, ROUND2_SEED_SET, ROUND2_MODEL, ROUND2_RECALL, ROUND2_DOMAINS,
)  # fmt: skip
KEY = PartitionKey.of({"snapshot": "local-first"})


def small_web(seed: int) -> list[tuple[str, str]]:
    """Ten exam sites, one of them known, and ten news sites."""
    chooser = random.Random(seed)
    common = ["the", "of", "and", "to", "in", "is"]
    exam, news = ["question", "answer", "solve", "exam", "marks"], ["news", "sale", "weather", "match", "mayor"]
    return [
        (
            f"https://{kind}{site}.example/{part}/{page}",
            " ".join(chooser.choices(words + common, k=40)),
        )
        for kind, part, words in (("exam", "papers", exam), ("news", "today", news))
        for site in range(10)
        for page in range(12)
    ]


def loop(ws: Workspace, key: PartitionKey) -> dict[str, Manifest]:
    """Every recall partition of a snapshot, by asset."""
    later = [stage for stages in later_stages(ws.config.recall.rounds) for stage in stages]
    stages = [*TWO_ROUNDS, *later, RECALLED_URLS]
    return {stage.asset: execute(stage, key, ws, log=print, run_id="test") for stage in stages}


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    home = make_home(tmp_path_factory.mktemp("rounds") / "home")
    (home / "config/hosts.yaml").write_text(
        "hosts: [{host: exam0.example, reason: known}, {host: exam1.example, reason: known}]"
    )
    ws = configured(
        Workspace.open(home),
        seeds={"allow_list": "config/hosts.yaml", "min_per_class": 5},
        # No domain is left to the LLM.
        recall={"min_recall_rate": 0.5, "sure_recall_rate": 0.5, "min_domain_pages": 3, "round1_threshold": {"percentile": 62, "min_precision": 0}},
    )  # fmt: skip
    crawl(ws, "local-first", small_web(0), files=3)
    crawl(ws, "local-second", small_web(1), files=2)
    yield ws


@pytest.fixture(scope="module")
def two(ws: Workspace) -> dict[str, Manifest]:
    return loop(ws, KEY)


def test_two_rounds_find_the_sites_that_nobody_listed(ws: Workspace, two: dict[str, Manifest]) -> None:
    selected = ws.lake.read(two["round2_domains"]).filter("selected")["domain"].to_list()
    assert sorted(selected) == [f"exam{site}.example" for site in range(10)]
    found = ws.lake.read(two["recalled_urls"])
    assert found.height >= 110 and all("exam" in domain for domain in found["domain"])
    assert two["round2_domains"].metrics["already_collected"] < 1
    assert "already_collected" not in two["round1_domains"].metrics


def test_the_funnel_has_every_number_once_and_is_drawn(ws: Workspace, two: dict[str, Manifest]) -> None:
    steps = two["recalled_urls"].metrics["funnel"]
    counted = {(step["round"], step["step"]): step["count"] for step in steps}
    assert len(counted) == len(steps) == 23
    for number in (1, 2):
        domains, recall = two[f"round{number}_domains"], two[f"round{number}_recall"]
        assert counted[number, "pages scored"] == 240
        assert counted[number, "pages recalled"] == recall.rows
        assert counted[number, "domains selected"] == domains.metrics["domains_selected"]
    assert counted[1, "positive training pages"] == two["seed_set"].metrics["positives"]
    assert counted[2, "negative training pages"] == two["round2_seed_set"].metrics["negatives"]
    assert counted[0, "URLs located"] == two["recalled_urls"].rows
    plot = recall_funnel(ws, two["recalled_urls"])
    assert plot and plot.startswith("![From the crawl to located pages](data:image/png;base64,iVBOR")
    assert len(plot) < 70_000
    assert recall_funnel(ws, two["seed_set"]) is None


def test_a_third_round_runs_or_stands_for_the_second(ws: Workspace, two: dict[str, Manifest]) -> None:
    share = two["round2_domains"].metrics["already_collected"]
    go_on = loop(configured(ws, recall={"rounds": 4, "stop_share": 1.0}), KEY)
    assert go_on["round3_recall"].reuses is None and go_on["round3_domains"].rows
    assert [item.asset for item in go_on["round3_seed_set"].inputs] == [
        "crawl_index",
        "round2_recall",
        "round2_domains",
    ]
    assert ws.lake.read(go_on["round3_recall"])["id"].str.starts_with("r3-").all()
    assert go_on["recalled_urls"].metrics["funnel"][-2]["round"] == (3 if go_on["round4_recall"].reuses else 4)

    stopping = configured(ws, recall={"rounds": 4, "stop_share": round(share - 0.01, 4)})
    stopped = loop(stopping, KEY)
    for number in (3, 4):
        for part in ("seed_set", "model", "recall", "domains"):
            manifest = stopped[f"round{number}_{part}"]
            assert manifest.reuses == f"round2_{part}/local-first" and not manifest.parts
    assert stopped["recalled_urls"].rows == two["recalled_urls"].rows
    assert stopped["recalled_urls"].metrics["funnel"] == two["recalled_urls"].metrics["funnel"]

    with_two = loop(configured(ws, recall={"rounds": 2}), KEY)
    assert with_two["recalled_urls"].data_version == two["recalled_urls"].data_version


def test_a_borrowed_model_leaves_only_the_last_scan_to_do(ws: Workspace, two: dict[str, Manifest]) -> None:
    key = PartitionKey.of({"snapshot": "local-second"})
    ws.set_reference("local-second", "local-first")
    three = configured(ws, recall={"rounds": 3, "stop_share": 1.0})
    loop(three, KEY)
    borrowed = loop(three, key)
    own = {asset for asset, manifest in borrowed.items() if manifest.reuses is None}
    assert own == {"round3_recall", "round3_domains", "recalled_urls"}
    assert borrowed["round2_recall"].reuses == "round2_recall/local-first"
    assert "already_collected" not in borrowed["round3_domains"].metrics, "the second round was another snapshot's"
    assert borrowed["recalled_urls"].rows >= 110
    snapshots = {step["snapshot"] for step in borrowed["recalled_urls"].metrics["funnel"] if step["round"] == 1}
    assert snapshots == {"local-first"}
    # After the stop rule in the reference, its third model is its second: the new snapshot is scanned with that.
    again = configured(ws, recall={"rounds": 3, "stop_share": 0.5})
    assert loop(again, KEY)["round3_model"].reuses == "round2_model/local-first"
    scanned = loop(again, key)["round3_recall"]
    assert scanned.reuses is None and scanned.rows
    assert again.lake.require(Ref("round3_model", key), "test").reuses == "round3_model/local-first"


def test_dagster_and_the_command_line_know_the_rounds_that_are_asked_for(home: Path) -> None:
    configured(Workspace.open(home), recall={"rounds": 4})
    listed = json.loads(webinstruct(home, "status", "--json").stdout)
    assets = [row["asset"] for row in listed]
    assert assets[assets.index("round2_domains") + 1 :][:9] == [
        *(f"round3_{part}" for part in ("seed_set", "model", "recall", "domains")),
        *(f"round4_{part}" for part in ("seed_set", "model", "recall", "domains")),
        "recalled_urls",
    ]
    code = (
        "import dagster as dg, json\n"
        "from webinstruct_assets.definitions import defs\n"
        "graph = defs.resolve_asset_graph()\n"
        "names = ('round4_seed_set', 'round4_domains', 'recalled_urls')\n"
        "print(json.dumps({n: sorted(k.to_user_string() for k in graph.get(dg.AssetKey(n)).parent_keys) for n in names}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "WEBINSTRUCT_HOME": str(home)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(answer.stdout.splitlines()[-1]) == {
        "round4_seed_set": ["crawl_index", "round3_domains", "round3_recall"],
        "round4_domains": ["round3_domains", "round3_recall", "round4_recall"],
        "recalled_urls": ["crawl_index", "round4_domains", "round4_recall"],
    }
