"""Tokens by the demo model's own tokenizer, and cuts that keep to a budget of them in any script."""

from pathlib import Path

import pytest

from webinstruct_assets.core.config import ModelConfig
from webinstruct_assets.core.errors import MissingModel
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.extraction.lines import cuts, line_spans, numbered

MODEL = "smollm2-135m"
LINES = {
    "German": "Donaudampfschifffahrtsgesellschaftskapitäne berechnen die Geschwindigkeitsüberschreitungen: Wie groß ist sie?",
    "Japanese": "次の二次方程式を解きなさい。ただし、解は実数の範囲で求めること。x の値はいくつですか？",
    "TeX": r"Compute $\int_0^{\pi/2} \frac{\sin^{2n+1} x}{\sqrt{1 + \cos^2 x}}\,dx$ for $n \in \mathbb{N}$. What is it?",
    "English": "A tank holds 80 litres and a quarter of it is drained in five minutes. How much is left in the tank?",
}


@pytest.mark.parametrize("language", LINES)
def test_no_cut_exceeds_the_budget_by_the_models_own_count(workspace: Workspace, language: str) -> None:
    count = workspace.token_counts(MODEL, print)
    text = "\n".join(LINES[language] for _ in range(40))
    spans, budget = line_spans(text), 400
    pieces = cuts(text, spans, budget, list(range(1, 41)), count)
    assert len(pieces) > 2 and {n for cut in pieces for n in range(cut.first, cut.last + 1)} == set(range(1, 41))
    assert max(count([numbered(text, spans, cut) for cut in pieces])) <= budget


def test_an_endpoints_model_may_name_its_tokenizer(workspace: Workspace, tmp_path: Path) -> None:
    folder = workspace.model_dir(MODEL, print)
    endpoint = {"source": "hub:some/model", "base_url": "http://127.0.0.1:9/v1"}
    workspace.files.environment = workspace.config.model_copy(
        update={
            "models": {
                "here": ModelConfig(**endpoint, tokenizer=folder),
                "nowhere": ModelConfig(**endpoint, tokenizer=tmp_path),
            }
        }
    )
    assert workspace.token_counts("here", print)(["Hello world", ""]) == [2, 0]
    with pytest.raises(MissingModel, match=r"model 'nowhere': no .*tokenizer\.json"):
        workspace.token_counts("nowhere", print)
