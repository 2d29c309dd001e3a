"""Disks that are full or read-only: a clean failure that says so, and the version before it intact."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from webinstruct_assets.core.errors import UnitsFailed, Unwritable, WebInstructError
from webinstruct_assets.core.llm.client import LlmRequest
from webinstruct_assets.core.llm.ledger import Ledger
from webinstruct_assets.core.stage import Job, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.funnel.funnel import FUNNEL
from webinstruct_assets_tests import answers
from webinstruct_assets_tests.core.engine import program
from webinstruct_assets_tests.core.engine.program import with_engine
from webinstruct_assets_tests.partitions import filled, made
from webinstruct_assets_tests.services import free_port


@contextmanager
def small(folder: Path) -> Iterator[None]:
    """A file system of 1 MiB of its own at ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small_lake(workspace: Workspace) -> Iterator[Workspace]:
    """A lake on a small file system."""
    with small(workspace.lake.root):
        program.make_crawl(workspace)
        yield workspace


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


@pytest.mark.parametrize("kind", ["inline", pytest.param("processes", marks=pytest.mark.slow)])
def test_a_full_disk(small_lake: Workspace, tmp_path: Path, kind: str) -> None:
    ws, log = with_engine(small_lake, kind), tmp_path / "log"
    ref = program.pages.PAGES.ref(program.KEY)
    before = program.digests(ws, program.build(ws, log))
    published = ws.lake.require(ref, "test")
    shutil.copytree(ws.lake.data_folder(published), tmp_path / "kept")
    room = shutil.disk_usage(ws.lake.root).free - 20_000
    (ws.lake.root / "ballast").write_bytes(bytes(room))
    changed = ws.config.pages.model_copy(update={"min_words": 11})  # another identity, so another build
    ws.files.environment = ws.config.model_copy(update={"pages": changed})
    with pytest.raises((Unwritable, UnitsFailed), match=r"No space left on device(?s:.*)make room"):
        program.build(ws, log)
    assert ws.lake.require(ref, "test") == published and program.digests(ws, published) == before
    (ws.lake.root / "ballast").unlink()
    again = program.build(ws, log)
    assert again.fingerprint != published.fingerprint and not list(ws.lake.folder(ref).glob("**/.*.tmp-*"))


def test_a_read_only_disk(small_lake: Workspace, tmp_path: Path) -> None:
    ws, log = with_engine(small_lake, "inline"), tmp_path / "log"
    published = program.build(ws, log)
    files = program.digests(ws, published)
    ws.files.environment = ws.config.model_copy(update={"pages": ws.config.pages.model_copy(update={"min_words": 11})})
    remount(ws.lake.root, "ro")
    try:
        with pytest.raises(
            Unwritable, match=r"pages/local-test: cannot write(?s:.*)Read-only file system(?s:.*)writable"
        ):
            program.build(ws, log)
        assert program.digests(ws, ws.lake.require(program.pages.PAGES.ref(program.KEY), "test")) == files
    finally:
        remount(ws.lake.root, "rw")
    assert program.build(ws, log).rows == published.rows


@pytest.mark.parametrize("fault", [80_000, 0, "read-only"])
def test_a_disk_for_answers(home: Path, tmp_path: Path, fault: str | int) -> None:
    """The ledger of answered requests has a disk of its own here: what it holds is not asked again when it can be written."""
    folder, port = home / "data/llm", free_port()
    answers.configure(home, port)
    ws = Workspace.open(home)

    def asks(job: Job) -> None:
        with job.ws.llm("smollm2-135m", print) as client:
            requests = [LlmRequest(prompt=f"{number}") for number in range(30)]
            texts = [reply.text for reply in client.complete(requests)]
        job.unit("0", lambda: Unit([filled(FUNNEL, id=f"fu-{text}") for text in texts[:1]], 1))

    stage = made(FUNNEL, asks)
    with small(folder), answers.serving(home, tmp_path / "asked", port):
        if isinstance(fault, int):  # so many bytes are left
            Ledger(folder / "ledger.sqlite").close()
            (folder / "ballast").write_bytes(bytes(shutil.disk_usage(folder).free - fault))
        else:
            remount(folder, "ro")
        with pytest.raises(Unwritable, match=r"ledger\.sqlite: cannot write(?s:.*)make room"):
            execute(stage, program.KEY, ws, log=print, run_id="test")
        if isinstance(fault, int):
            (folder / "ballast").unlink()
        else:
            remount(folder, "rw")
        assert execute(stage, program.KEY, ws, log=print, run_id="test").rows == 1
    assert not [line for line in (tmp_path / "asked").read_text().splitlines() if line.endswith("again")]


def test_files_that_may_not_grow(workspace: Workspace, tmp_path: Path) -> None:
    """A quota, where no file system can be mounted: a process whose files may have 4 KiB."""
    program.make_crawl(workspace)
    code = (
        "import sys; from pathlib import Path; from webinstruct_assets_tests.core.engine import program;"
        "from webinstruct_assets.core.workspace import Workspace; from webinstruct_assets.core.errors import WebInstructError\n"
        "try: program.build(Workspace.open(Path(sys.argv[1])), Path(sys.argv[2]))\n"
        "except WebInstructError as error: print(error); sys.exit(3)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(workspace.root), str(tmp_path / "log")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 3, answer.stderr
    assert "File too large" in answer.stdout and "fix: make room" in answer.stdout
    assert workspace.lake.manifest(program.pages.PAGES.ref(program.KEY)) is None
    assert program.build(workspace, tmp_path / "log").rows


def test_other_errors_stay_what_they_are() -> None:
    from webinstruct_assets.core.errors import disk_errors_named

    with pytest.raises(ValueError, match="a bug"), disk_errors_named("x"):
        raise ValueError("a bug")
    with pytest.raises(WebInstructError, match="quota"), disk_errors_named("x"):
        raise OSError(122, "Disk quota exceeded")
