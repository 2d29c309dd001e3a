"""What the ledger knows needs no server: neither is one started nor are weights looked for."""

from pathlib import Path

import pytest

from webinstruct_assets.core.config import ModelConfig
from webinstruct_assets.core.errors import DeadEndpoint, MissingModel
from webinstruct_assets.core.llm.client import LlmRequest
from webinstruct_assets.core.workspace import Workspace

KNOWN = LlmRequest(prompt="known", max_tokens=4)
OPEN = LlmRequest(prompt="open", max_tokens=4)


def with_model(workspace: Workspace, model: ModelConfig) -> None:
    workspace.files.environment = workspace.config.model_copy(update={"models": {"mine": model}})
    reply = {"text": "yes", "finish_reason": "stop", "tokens_in": 1, "tokens_out": 1}
    identity = workspace.model_identity("mine")
    workspace.ledger().put(KNOWN.key(identity), identity, reply)


def test_no_server_is_started_for_known_answers(workspace: Workspace, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    with_model(workspace, ModelConfig(source=f"path:{checkpoint}"))
    servers = workspace.root / "data/llm/servers"
    servers.unlink()  # the link to the checkout's
    with workspace.llm("mine", print) as client:
        (checkpoint / "config.json").unlink()
        assert [reply.text for reply in client.complete([KNOWN, KNOWN])] == ["yes", "yes"]
        assert client.complete([]) == [] and not servers.exists()
        with pytest.raises(MissingModel):  # now it would have to be served
            client.complete([KNOWN, OPEN])
    with workspace.serve(checkpoint, "mine", client.model_identity, print, like="mine") as client:
        assert client.complete([KNOWN])[0].from_ledger and not servers.exists()


def test_dead_endpoint_answers_what_is_known(workspace: Workspace) -> None:
    with_model(workspace, ModelConfig(source="hub:some/model", base_url="http://127.0.0.1:9/v1"))
    with workspace.llm("mine", print) as client:
        client.max_retries = 0
        assert client.complete([KNOWN])[0].text == "yes"
        with pytest.raises(DeadEndpoint):
            client.complete([OPEN])
