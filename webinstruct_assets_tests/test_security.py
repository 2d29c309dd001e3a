"""Secrets stay in the environment, whatever fails; model files that could run code are refused; gzip is bounded."""

import ast
import gzip
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import webinstruct_assets
from webinstruct_assets.core import json_lines
from webinstruct_assets.core.config import ModelConfig
from webinstruct_assets.core.errors import BadInput, MissingModel
from webinstruct_assets.core.gunzip import gunzip
from webinstruct_assets.core.llm.client import LlmReply
from webinstruct_assets.core.llm.models import ModelSpec, resolve_model
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets.stages.benchmarks import sources
from webinstruct_assets.stages.crawl.demo import build_demo_crawl
from webinstruct_assets.stages.extraction.lines import Cut, line_spans
from webinstruct_assets.stages.extraction.reading import read_reply
from webinstruct_assets.stages.recall.judge import votes_of
from webinstruct_assets.stages.refinement.checks import parse_reply
from webinstruct_assets.stages.release.labels import read_label
from webinstruct_assets.stages.review.judge import read_judgement
from webinstruct_assets.stages.sft import public_rows
from webinstruct_assets_tests.conftest import webinstruct

SECRETS = {
    "JUDGE_KEY": "sk-planted-judge-0123456789",
    "HF_TOKEN": "hf_planted0123456789",
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED012345678",  # pragma: allowlist secret
    "AWS_SECRET_ACCESS_KEY": "planted/secret/0123456789",  # pragma: allowlist secret
    "WEBINSTRUCT_POSTGRES_PASSWORD": "planted-postgres-0123456789",  # pragma: allowlist secret
    "RAY_AUTH_TOKEN": "planted-ray-0123456789",  # pragma: allowlist secret
    "WEBINSTRUCT_ALERT_WEBHOOK": "http://127.0.0.1:9/planted-hook-0123456789",
}


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[bool]]]:
    """A server that takes one key, and repeats a wrong one (or any, once told to fail) in its error as some do."""
    refuse = [False]

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            key = self.headers["Authorization"].removeprefix("Bearer ")
            known = key == SECRETS["JUDGE_KEY"] and not refuse[0]
            message = {"role": "assistant", "content": '{"labels": []}'}
            usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
            answer: dict[str, Any] = {"error": {"message": f"Incorrect API key provided: {key}"}}
            if known:
                choice = {"index": 0, "finish_reason": "stop", "message": message}
                answer = {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "judge",
                    "choices": [choice],
                    "usage": usage,
                }
            body = json.dumps(answer).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", refuse
        server.shutdown()


def test_planted_secrets_are_nowhere(
    home: Path, endpoint: tuple[str, list[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that use secrets, well and badly: lake, run config, event log, compute logs and output are searched."""
    url, refuse = endpoint
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    path = home / "config/environments/demo.yaml"
    environment = yaml.safe_load(path.read_text())
    environment["models"]["smollm2-135m"] = {
        "source": "hub:planted/judge", "base_url": url, "served_name": "judge", "api_key_env": "JUDGE_KEY",  # pragma: allowlist secret
    }  # fmt: skip
    path.write_text(yaml.safe_dump(environment))
    ws = Workspace.open(home)
    build_demo_crawl(ws.path(ws.config.crawl.demo_sources), ws.path(ws.config.crawl.local_root), "local-demo")
    refuse[0] = True
    bad = webinstruct(home, "run", "--snapshot", "local-demo", "--to", "round1_domains", check=False)
    assert bad.returncode == 1 and "Incorrect API key provided: ***" in bad.stdout + bad.stderr
    refuse[0] = False
    good = webinstruct(home, "run", "--snapshot", "local-demo", "--select", "round1_domains")
    assert ws.lake.manifests("round1_domains")
    planted = [value.encode() for value in SECRETS.values()]
    searched = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in searched:
        content = path.read_bytes()
        assert not [secret for secret in planted if secret in content], path
    for output in (good.stdout, good.stderr, bad.stdout, bad.stderr):
        assert not [value for value in SECRETS.values() if value in output]
    # The search would find one: what is no secret of the same runs stands there in plain bytes.
    assert [path for path in searched if path.suffix == ".db" and b"round1_domains" in path.read_bytes()]


HOSTILE_REPLIES = [
    "[" * 3000,
    '{"a":' * 3000,
    '{"pairs": ' + "[" * 3000,
    '{"pairs": [{"question": [], "answer": {}, "kind": []}]}',
    '{"pairs": [{"question": "' + "9" * 5000 + '", "answer": "1-' + "9" * 5000 + '"}]}',
    '{"category": [], "reason": {}}',
    '{"label": {}}',
    '{"1": [], "2": {"educational": 1}}',
    '{"question": "half \\\\ud83d", "answer": "\\\\ude00 of a pair"}',
    '{"question": ["q"], "answer": null}',
    "\x00" * 100,
    "null",
]


@pytest.mark.parametrize("text", HOSTILE_REPLIES, ids=range(len(HOSTILE_REPLIES)))
def test_no_reply_of_an_llm_ends_a_stage(text: str) -> None:
    """A page may tell a model what to say; the reply is in the ledger for good, so a reader that raises stops every run."""
    reply, page = LlmReply(text, "stop", 1, 1), "What is 1 + 1?\nIt is 2."
    assert votes_of(text, 2) == ["", ""]
    assert read_label(reply, ["math", "physics"]) is None
    assert read_judgement(reply)[0] == ""
    reading = read_reply("point", page, line_spans(page), Cut(1, 2), text)
    assert not reading.pairs and (reading.problem or text == "null")
    assert not any(pair.question_spans for pair in read_reply("retype", page, line_spans(page), Cut(1, 2), text).pairs)
    if refined := parse_reply(text):
        f"{refined.question}{refined.answer}".encode()  # what cannot be written is no text


def test_weights_that_are_pickles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(MissingModel, match="no safetensors"):
        resolve_model(ModelSpec(name="m", source=f"path:{tmp_path}"), tmp_path / "models", print)


@pytest.mark.parametrize("argument", ["--trust-remote-code", "--trust_remote_code=true"])
def test_a_models_own_code_is_refused(argument: str) -> None:
    with pytest.raises(ValueError, match="would run code that comes with the model"):
        ModelConfig(source="path:x", vllm_args=["--max-num-seqs", "8", argument])


def test_a_small_file_cannot_become_a_large_one() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    assert len(bomb) < 20_000 and len(gunzip(bomb, 10_000_000, "list")) == 10_000_000
    with pytest.raises(BadInput, match=r"warc\.paths\.gz: more than 9,999,999 bytes"):
        gunzip(bomb, 9_999_999, "warc.paths.gz")
    with pytest.raises(BadInput, match="not readable as gzip"):
        gunzip(bomb[:-9], 10_000_000, "list")


PICKLES = {
    "pickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "shelve",
    "marshal",
    "torch.load",
    "numpy.load",
    "pandas.read_pickle",
}


def test_downloaded_sets_inflate_into_a_bound(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_FILE", "MAX_LINE"):
        monkeypatch.setattr(json_lines, name, 1000)  # a gigabyte and 64 MiB take their time
    bomb = gzip.compress(b'{"q": "' + bytes(100_000))
    path, whole = tmp_path / "x.jsonl.gz", tmp_path / "x.json.gz"
    path.write_bytes(bomb)
    whole.write_bytes(bomb)
    with pytest.raises(BadInput, match=r"x\.json\.gz: over 1,000 bytes"):
        sources.read_records(whole)
    with pytest.raises(BadInput, match=r"x\.jsonl\.gz: line 1: over 1,000 bytes"):
        sources.read_records(path)
    (home / "config/datasets/trial.yaml").write_text(
        f"description: t\nsource: path:{path}\npair: {{question: q, answer: a}}\n"
    )
    with pytest.raises(BadInput, match=r"x\.jsonl\.gz: line 1: over 1,000 bytes"):
        list(public_rows.records(Workspace.open(home), "trial", print))


def test_nothing_unpickles_files_and_no_models_code_is_run() -> None:
    """Pickle is for the pipes of our own processes (core/engine) and to see what could travel there (core/stage)."""
    package = Path(webinstruct_assets.__file__).parent
    used, loaded = set(), 0
    for path in package.rglob("*.py"):
        short = {"np": "numpy", "pd": "pandas", "pl": "polars"}
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [item.name for item in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{item.name}" for item in node.names)]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names = [f"{short.get(node.value.id, node.value.id)}.{node.attr}"]
            used |= {(path.relative_to(package).as_posix(), name) for name in names if name in PICKLES}
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"deserialize", "unsafe_load", "full_load"}, path
            if isinstance(node, ast.Call):
                given = {item.arg: ast.unparse(item.value) for item in node.keywords}
                assert (
                    given.get("trust_remote_code", "False") == "False" and given.get("allow_pickle", "False") == "False"
                ), path
                if ast.unparse(node.func) == "AutoModelForCausalLM.from_pretrained":
                    assert given.get("use_safetensors") == "True" or "gguf_file" in given, path
                    loaded += 1
    assert used == {
        ("core/engine/processes.py", "pickle"),
        ("core/engine/worker.py", "pickle"),
        ("core/stage.py", "pickle"),
    }
    assert loaded == 3


def test_what_is_installed_is_pinned_with_its_hashes() -> None:
    """What pip installs has to match them; torch's build for CPUs differs by index, and is pinned to one version."""
    assert "--require-hashes" in (PROJECT_ROOT / "tools/install.sh").read_text()
    for lock in (PROJECT_ROOT / "requirements").glob("*.lock"):
        text = re.sub(r"\\\n\s*", " ", lock.read_text())
        pins = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert pins, lock
        for pin in pins:
            assert re.match(r"[\w.\[\]-]+==\S+", pin), pin
            assert "--hash=sha256:" in pin or lock.name == "torch.lock", pin
