"""kill -9 of the stage runner at seeded moments in every stage, its LLM replies recorded as in every run.

Undisturbed, the graph is built once. Then each partition is built again from nothing, with nothing in the ledger of answers,
and killed at random moments of its work, on either engine, until its kills are spent; the last run goes to its end.
"""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets.graph import Selection, States, closure, targets
from webinstruct_assets.stages.crawl.demo import build_demo_crawl
from webinstruct_assets_tests import answers
from webinstruct_assets_tests.conftest import make_home
from webinstruct_assets_tests.crashes import program
from webinstruct_assets_tests.services import free_port

LLM_STAGES = {"round1_domains", "round2_domains", "extracted_qa", "refined_qa", "webinstruct", "benchmark_scores"}


@dataclass
class Campaign:
    """A root whose graph was built once, what that made of each partition, and what the kills met with."""

    ws: Workspace
    refs: list[Ref]
    asked: Path
    calm: dict[Ref, tuple[str, list[tuple[str, bytes]]]] = field(default_factory=dict)
    seconds: dict[Ref, float] = field(default_factory=dict)
    killed: int = 0
    resumed: int = 0

    @property
    def log(self) -> Path:
        return self.ws.root / "progress"

    def start(self, engine: str, refs: list[Ref]) -> "subprocess.Popen[bytes]":
        self.log.unlink(missing_ok=True)
        command = [sys.executable, "-m", program.__name__, str(self.ws.root), engine, str(self.log), *map(str, refs)]
        return subprocess.Popen(command, cwd=PROJECT_ROOT)

    def finish(self, engine: str, refs: list[Ref]) -> None:
        assert self.start(engine, refs).wait(600) == 0

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def build(self) -> None:
        """The undisturbed run."""
        self.finish("inline", self.refs)
        moments = {(word, name): float(at) for word, name, at in self.lines()}
        for ref in self.refs:
            self.seconds[ref] = moments["end", str(ref)] - moments["begin", str(ref)]
            self.calm[ref] = self.made(ref)

    def made(self, ref: Ref) -> tuple[str, list[tuple[str, bytes]]]:
        """Data version, and every published file with its bytes."""
        manifest = self.ws.lake.require(ref, "test")
        assert manifest.rows_in == manifest.rows_kept + manifest.rejected_total
        files = [*manifest.parts, *manifest.rejects, *manifest.files]
        folder = self.ws.lake.data_folder(manifest)
        return manifest.data_version, [(part.file, (folder / part.file).read_bytes()) for part in files]

    def kill(self, ref: Ref, kills: int, chance: random.Random) -> None:
        """Builds ``ref`` anew through ``kills`` kills."""
        folder = self.ws.lake.folder(ref)
        left = kills
        while True:
            self.forget(ref)
            while left and self.run_and_kill(ref, chance):
                left -= 1
                self.killed += 1
                self.resumed += any(folder.glob("*/unit-*.json"))
            if not left:
                self.finish("inline", [ref])
            assert self.made(ref) == self.calm[ref], f"{ref} is another after its kills"
            strays = [path for path in folder.rglob("*") if ".tmp-" in path.name or path.name == "scratch"]
            assert not strays, strays
            if not left:
                return

    def forget(self, ref: Ref) -> None:
        """As if the partition had never been built nor its questions answered."""
        shutil.rmtree(self.ws.lake.folder(ref))
        for path in (self.ws.root / "data/llm").glob("ledger.sqlite*"):
            path.unlink()

    def run_and_kill(self, ref: Ref, chance: random.Random) -> bool:
        """One run, killed at a random moment of its work; False when it ended before that."""
        child = self.start(chance.choice(["inline", "inline", "processes"]), [ref])
        deadline = time.monotonic() + 60
        while child.poll() is None and not self.lines() and time.monotonic() < deadline:
            time.sleep(0.002)
        moment = time.monotonic() + chance.uniform(0, max(0.05, self.seconds[ref]))
        while child.poll() is None and time.monotonic() < moment:
            time.sleep(0.002)
        try:
            family = psutil.Process(child.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        child.kill()
        code = child.wait()
        assert code in (0, -9), f"{ref}: the run ended with {code}"
        _, alive = psutil.wait_procs(family, timeout=15)
        assert not alive, f"{ref}: processes outlive their run: {alive}"
        return code == -9

    def check(self) -> None:
        """After the campaign: all of the graph is up to date, no recorded answer was asked for again."""
        states = States(self.ws)
        assert all(states.of(ref).up_to_date for ref in self.refs)
        requests = self.asked.read_text().splitlines() if self.asked.exists() else []
        assert not [line for line in requests if line.endswith("again")]


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    home, port = make_home(tmp_path / "home"), free_port()
    with answers.serving(home, tmp_path / "asked", port):
        answers.configure(
            home, port, refiners=["smollm2-format", "smollm2-steps"], recipes=["base-smollm2", "demo-sft"]
        )
        ws = Workspace.open(home)
        build_demo_crawl(ws.path(ws.config.crawl.demo_sources), ws.path(ws.config.crawl.local_root), "local-demo")
        yield Campaign(ws, [], tmp_path / "asked")


def test_kills_in_a_few_stages(campaign: Campaign) -> None:
    """A sample of the campaign below."""
    wanted = targets(campaign.ws, Selection(), ["round1_domains"])
    campaign.refs = closure(campaign.ws, wanted, None)
    campaign.build()
    chance = random.Random(0)
    for ref in campaign.refs:
        if ref.asset in ("seed_set", "round1_recall", "round1_domains"):
            campaign.kill(ref, 2, chance)
    assert campaign.killed == 6
    campaign.check()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_kills_in_every_stage(campaign: Campaign) -> None:
    """200 kills and more, over all stages but training, which has processes of its own (``test_stack.py``)."""
    every = closure(campaign.ws, targets(campaign.ws, Selection(), ()), None)
    trained = {"demo-sft", "demo-stem|demo-sft"}
    campaign.refs = [
        ref
        for ref in every
        if ref.asset not in ("trained_checkpoint", "benchmark_scores") or str(ref.key) not in trained
    ]
    campaign.build()
    chance = random.Random(1)
    began = time.monotonic()
    for ref in campaign.refs:
        if ref.asset == "results_report":  # it shows what everything took, which is another by now
            campaign.forget(ref)
            campaign.finish("inline", [ref])
            campaign.calm[ref] = campaign.made(ref)
        # Half a process start more for those that ask a model, fewer where a start takes long (lm-eval).
        campaign.kill(ref, 4 if ref.asset == "benchmark_scores" else 12 if ref.asset in LLM_STAGES else 9, chance)
    campaign.check()
    asked = len(campaign.asked.read_text().splitlines())
    report = {
        "kills": campaign.killed, "left something to resume": campaign.resumed, "partitions": len(campaign.refs),
        "requests to the model": asked, "seconds": round(time.monotonic() - began),
    }  # fmt: skip
    print(json.dumps(report))
    assert campaign.killed >= 200 and campaign.resumed >= 40
