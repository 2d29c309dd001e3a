"""A manifest that cannot be read: everything else is shown, and it is named with what to do."""

import pytest

from webinstruct_assets import backfill, sql, status
from webinstruct_assets.core.errors import BadManifest
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.lake import manifest_name
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.metrics import LakeCollector
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.takedown import take_down
from webinstruct_assets.trace import Tracer
from webinstruct_assets_tests.partitions import filled, publish

BAD, GOOD = (PAGES.ref(PartitionKey.of({"snapshot": f"local-{name}"})) for name in ("bad", "good"))


@pytest.fixture
def damaged(workspace: Workspace) -> Workspace:
    for ref, name in ((BAD, "bad"), (GOOD, "good")):
        publish(workspace, PAGES, ref.key, [filled(PAGES, id=f"pg-{name}", url=f"https://{name}.example/")])
    (workspace.lake.root / manifest_name(BAD)).write_text('{"asset": "pages"')
    return workspace


def test_status_sql_metrics_and_backfill_go_on_and_name_it(
    damaged: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    rows = {row["partition"]: row for row in status.rows(damaged) if row["asset"] == "pages"}
    assert rows["local-good"]["rows"] == 1 and rows["local-bad"]["rows"] is None
    assert "pages/snapshot=local-bad/manifest.json: not a manifest" in rows["local-bad"]["reason"]
    assert "materialize pages/local-bad again" in rows["local-bad"]["reason"]
    assert status.funnel(damaged, "local-bad") == []
    database = sql.Database(damaged)
    found = database.sql("SELECT partition FROM manifests")
    assert found and found.fetchall() == [("local-good",)] and list(database.unreadable) == [BAD]
    families = {family.name: family.samples for family in LakeCollector(damaged).collect()}
    (sample,) = families["webinstruct_unreadable_manifest"]
    assert sample.labels == {"asset": "pages", "partition": "local-bad"}
    assert [item.labels["partition"] for item in families["webinstruct_rows"]] == ["local-good"]
    assert BAD in backfill.missing(damaged, "local-bad"), "it has to be built again"
    assert GOOD not in backfill.missing(damaged, "local-good")
    assert backfill.dollars_per_file(damaged) is None and "materialize pages/local-bad again" in caplog.text


def test_who_cannot_do_without_it_refuses(damaged: Workspace) -> None:
    with pytest.raises(BadManifest, match="local-bad"):
        damaged.lake.manifests("pages")
    with pytest.raises(BadManifest, match="local-bad"):  # it may hold rows
        take_down(damaged, "domain", "site.example", "the site asked", "ada")
    assert damaged.lake.takedowns.all() == []
    assert Tracer(damaged).row("pg-good")[0].partition == "local-good"
    with pytest.raises(BadManifest, match="local-bad"):  # it may be there
        Tracer(damaged).row("pg-bad")
    assert damaged.lake.readable(BAD) is None and damaged.lake.readable(GOOD) is not None
