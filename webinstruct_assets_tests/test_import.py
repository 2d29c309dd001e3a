"""Bring your own WARC: real pages that nobody here wrote become a snapshot and, with a borrowed model, a dataset."""

from pathlib import Path

import pytest

from webinstruct_assets_tests.conftest import rows_of, webinstruct

PAGES = "pages/web_pages_dev.warc.gz"


def test_without_a_model_it_stops_at_the_seeds(home: Path, shared_real: Path) -> None:
    webinstruct(home, "import-warc", str(shared_real / PAGES), "--snapshot", "local-real")
    answer = webinstruct(home, "run", "--snapshot", "local-real", "--to", "webinstruct", check=False)
    assert answer.returncode == 1 and "Traceback" not in answer.stderr
    assert "seed_set local-real: 0 positive pages" in answer.stderr
    assert "--model-from" in answer.stderr
    assert [row["asset"] for row in rows_of(home, "SELECT asset FROM manifests")] == ["crawl_index"]


@pytest.mark.slow
@pytest.mark.llm
@pytest.mark.timeout(3000)
def test_with_a_borrowed_model_it_becomes_a_dataset(demo_home: Path, shared_real: Path) -> None:
    webinstruct(demo_home, "import-warc", str(shared_real / PAGES), "--snapshot", "local-real")
    webinstruct(demo_home, "run", "--snapshot", "local-real", "--model-from", "local-demo", "--to", "webinstruct")
    (count,) = rows_of(demo_home, "SELECT count(*) AS n FROM webinstruct WHERE snapshot = 'local-real'")
    assert count["n"] > 0
    for asset in ("seed_set", "round1_recall", "round2_model"):
        (reused,) = rows_of(demo_home, f"SELECT count(*) AS n FROM {asset} WHERE snapshot = 'local-real'")
        assert reused["n"] == 0, f"{asset} of local-real is local-demo's, it has no rows of its own"
