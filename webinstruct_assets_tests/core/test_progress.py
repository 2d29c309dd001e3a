"""Progress of builds: done/total, rate, ETA, rejects by reason and cost, of every stage that may take long."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from webinstruct_assets.core.cost import cost_of_build
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lake import PROGRESS
from webinstruct_assets.core.progress import Progress, Standing, builds, duration
from webinstruct_assets.core.stage import Job, Reject, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import BY_ASSET, Selection, closure, targets
from webinstruct_assets.stages.crawl.demo import build_demo_crawl
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.takedown import take_down
from webinstruct_assets_tests import answers
from webinstruct_assets_tests.conftest import make_home, webinstruct
from webinstruct_assets_tests.partitions import filled, made
from webinstruct_assets_tests.services import free_port

KEY = PartitionKey.of({"snapshot": "local-demo"})
LINE = re.compile(
    r"(?P<label>[^:]+): (?P<done>[\d,]+)/(?P<total>[\d,]+) (?P<noun>[\w ]+), [\d,.]+/s, ETA (\?|\d[\w ]*), \$\d+\.\d{4}(, rejected: .+)?"
)


def test_a_resumed_build_says_what_is_done_and_rejected_but_counts_its_own_rate(workspace: Workspace) -> None:
    told: list[Standing] = []

    def run(job: Job) -> None:
        job.progress.start(6, "records")
        for number in range(3):

            def compute(number: int = number) -> Unit:
                if number == 2 and len(told) < 5:
                    raise KeyboardInterrupt
                job.progress.advance(2)
                return Unit([filled(PAGES, id=f"pg-{number}")], 2, [Reject(f"x-{number}", "", f"reason_{number % 2}")])

            job.unit(f"{number}", compute)

    def build() -> None:
        execute(made(PAGES, run), KEY, workspace, log=print, run_id="t", listener=told.append)

    with pytest.raises(KeyboardInterrupt):
        build()
    assert [(item.done, item.rejected) for item in told] == [(0, {})], "the last unit was not reached"
    assert not list(workspace.lake.root.rglob(".progress.json"))
    told += told[:1] * 4
    build()
    begun, ended = told[5], told[-1]
    assert (begun.done, ended.done, ended.total) == (0, 6, 6)
    assert ended.rejected == {"reason_0": 2, "reason_1": 1}
    assert ended.rate == pytest.approx(2 / 6 * ended.done / (ended.at - begun.at), rel=0.5)


def test_a_file_that_says_nothing_is_no_build(workspace: Workspace) -> None:
    path = workspace.lake.root / "pages/snapshot=local-test" / PROGRESS
    path.parent.mkdir(parents=True)
    for said in (b"", b"{}", b'{"host": "a", "process": null}', b"[]"):
        path.write_bytes(said)
        assert builds(workspace.lake) == [], said


def test_lines_are_rare_and_the_file_is_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lines = [100.0], list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    told = Progress("pages x", lines.append, lambda: 0.5, tmp_path)
    told.start(1000, "pages")
    for _ in range(100):
        clock[0] += 1
        told.advance(5, {"odd": 1})
        assert '"done"' in (tmp_path / ".progress.json").read_text() or clock[0] < 102
    assert 10 <= len(lines) <= 12
    assert lines[5].startswith("pages x: 250/1,000 pages, 5.0/s, ETA 2 min 30 s, $0.5000, rejected: odd 50")
    told.close()
    assert not (tmp_path / ".progress.json").exists()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (75, "1 min 15 s"), (7300, "2 h 1 min"), (200_000, "2 d 7 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Workspace]:
    """The demo crawl, its models answered by a fixed function."""
    home, port = make_home(tmp_path / "home"), free_port()
    with answers.serving(home, tmp_path / "asked", port):
        answers.configure(
            home, port, recipes=["base-smollm2"], refiners=["smollm2-format"], verification={"model": "smollm2-135m"},
            review={"judge_model": "smollm2-135m"}, recall={"round1_threshold": {"percentile": 50}},
        )  # fmt: skip
        ws = Workspace.open(home)
        build_demo_crawl(ws.path(ws.config.crawl.demo_sources), ws.path(ws.config.crawl.local_root), "local-demo")
        yield ws


# What counts, in the order of the phases. The training is in stages/training.
PHASES = {
    "seed_set": ["WET files"],
    "fasttext_model": ["pages trained on", "WET files for the percentile"],
    "round1_recall": ["WET files"],
    "round1_domains": ["domains", "questions about domains"],
    "round2_seed_set": ["WET files"],
    "round2_model": ["pages trained on"],
    "round2_recall": ["WET files"],
    "round2_domains": ["domains"],
    "recalled_urls": ["index files"],
    "pages": ["pages"],
    "extracted_qa": ["pages"],
    "decontaminated_qa": ["pages searched for common wording", "pairs"],
    "deduplicated_qa": ["pairs hashed", "bands joined", "pairs compared", "pairs"],
    "refined_qa": ["pairs"],
    "quality_review": ["pairs"],
    "webinstruct": ["hosts", "pairs"],
    "verified_qa": ["pairs"],
    "public_sets": ["rows"],
    "benchmark_scores": ["items"],
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_long_stage_says_where_it_stands(demo: Workspace) -> None:
    said: dict[str, list[Standing]] = {}
    refs: list[Ref] = closure(demo, targets(demo, Selection(), [*PHASES, "sft_dataset"]), None)
    for ref in refs:
        told = said.setdefault(ref.asset, [])
        lines: list[str] = []

        def heard(standing: Standing, told: list[Standing] = told, lines: list[str] = lines) -> None:
            told.append(standing)
            assert standing.total is None or LINE.fullmatch(lines[-1]), lines[-1]  # logged just before

        manifest = execute(BY_ASSET[ref.asset], ref.key, demo, log=lines.append, run_id="t", listener=heard)
        for standing in told:
            assert standing.label == f"{ref.asset} {ref.key}" and standing.dollars >= 0
        if ref.asset in PHASES:
            phases = list(dict.fromkeys(standing.noun for standing in told))
            missing = [noun for noun in PHASES[ref.asset] if noun not in phases]
            assert not missing, f"{ref}: {missing} not among {phases}"
            last = told[-1]
            assert last.total in (None, last.done), f"{ref}: {last.line()}"
            assert not last.done or last.rate > 0
            assert last.total is None or last.rejected == manifest.rejected
        # What a build costs as it runs is what it will have cost.
        if told:
            assert told[-1].dollars <= 1.05 * cost_of_build(manifest, demo.config.costs).dollars + 1e-3
    assert set(PHASES) <= set(said)
    lines = []
    take_down(demo, "domain", "example.org", "a test", "me", lines.append)
    assert LINE.fullmatch(lines[-1]) and "parts searched" in lines[-1]
    warc = next(demo.path(demo.config.crawl.local_root).rglob("*.warc.gz"))
    answer = webinstruct(demo.root, "import-warc", str(warc), "--snapshot", "local-mine").stdout
    found = [match for line in answer.splitlines() if (match := LINE.search(line))]
    assert found and found[-1]["noun"] == "bytes read" and found[-1]["done"] == found[-1]["total"]
