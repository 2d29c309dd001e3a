"""Files that inherit, recipes and environments: what they resolve to, and which file an error names."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from webinstruct_assets.core.config import Config
from webinstruct_assets.core.config.inherit import inherited
from webinstruct_assets.core.errors import BadKey, ConfigError

FOLDER = Path("config/recipes")
FILES: dict[str, Any] = {
    "a": {"steps": 3, "loss": "all", "filters": {"subjects": ["Physics"], "max_rows": 10}},
    "b": {"inherits": "a", "filters": {"max_rows": 20}},
    "c": {"inherits": "b", "steps": None, "filters": {"subjects": []}},
    "ring": {"inherits": "gnir"},
    "gnir": {"inherits": "ring"},
    "lost": {"inherits": "nobody"},
    "two": {"inherits": ["a", "b"]},
}


def test_a_chain_is_merged_and_every_field_knows_its_file() -> None:
    content, origins = inherited("c", FILES, FILES.__getitem__, FOLDER)
    assert content == {"loss": "all", "filters": {"subjects": [], "max_rows": 20}}
    assert origins["loss"] == FOLDER / "a.yaml"
    assert origins["filters.max_rows"] == FOLDER / "b.yaml"
    assert origins["filters.subjects"] == FOLDER / "c.yaml"
    assert inherited("a", FILES, FILES.__getitem__, FOLDER)[0] == FILES["a"]


def test_circles_and_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"recipes/gnir\.yaml: field 'inherits': .*ring → gnir → ring"):
        inherited("ring", FILES, FILES.__getitem__, FOLDER)
    with pytest.raises(ConfigError, match=r"recipes/lost\.yaml: field 'inherits': no recipe 'nobody'"):
        inherited("lost", FILES, FILES.__getitem__, FOLDER)
    with pytest.raises(ConfigError, match=r"recipes/two\.yaml: field 'inherits'"):
        inherited("two", FILES, FILES.__getitem__, FOLDER)


def write(home: Path, name: str, **content: Any) -> None:
    (home / f"config/recipes/{name}.yaml").write_text(yaml.safe_dump(content))


def test_an_environment_takes_the_rest_from_another(home: Path) -> None:
    mine, demo = home / "config/environments/mine.yaml", Config(home, "demo").environment
    mine.write_text("inherits: demo\nenvironment: mine\nengine: {kind: processes}\n")
    found = Config(home, "mine").environment
    assert found.engine.kind == "processes" and found.environment == "mine"
    assert found.model_copy(update={"environment": "demo", "engine": demo.engine}) == demo
    (mine.parent / "draft.yaml").write_text("a file that somebody is writing: [")  # is nobody's business but its own
    assert Config(home, "mine").environment == found
    mine.write_text("inherits: nobody\nenvironment: mine\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: field 'inherits': no environment 'nobody'"):
        Config(home, "mine")


def test_an_error_names_the_file_that_sets_the_field(home: Path) -> None:
    write(home, "child", inherits="parent", steps=3)
    write(home, "parent", description="t", base_model="m", filters={"max_rows": 0})
    with pytest.raises(ConfigError, match=r"recipes/parent\.yaml: field 'filters\.max_rows'"):
        Config(home, "demo")
    write(home, "parent", description="t", base_model="m")
    write(home, "child", inherits="parent", snapshots=["../etc"])
    with pytest.raises(BadKey, match=r"recipes/child\.yaml: .*not a snapshot key"):
        Config(home, "demo")
    write(home, "child", inherits="parent", datasets=["nothing"])
    with pytest.raises(ConfigError, match=r"recipes/child\.yaml: field 'datasets': 'nothing' has no file"):
        Config(home, "demo")
    write(home, "child", inherits="parent", extraction="nothing")
    with pytest.raises(ConfigError, match=r"recipes/child\.yaml: field 'extraction': 'nothing' has no file"):
        Config(home, "demo")
    (home / "config/recipes/child.yaml").write_text("- no mapping")
    with pytest.raises(ConfigError, match=r"recipes/child\.yaml: field '\(top level\)'"):
        Config(home, "demo")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"rows": "pages"}, "loss: all"),
        ({"rows": "pages", "loss": "all", "datasets": ["demo-public"]}, "no `datasets`, `extraction`"),
        ({"rows": "pages", "loss": "all", "extraction": "rules-only"}, "no `datasets`, `extraction`"),
        ({"rows": "extracted", "filters": {"subjects": ["Physics"]}}, "rows: refined"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(home: Path, content: dict[str, Any], problem: str) -> None:
    write(home, "child", inherits="demo-sft", **content)
    with pytest.raises(ConfigError, match=rf"recipes/child\.yaml.*{problem}"):
        Config(home, "demo")


def test_a_profile_is_the_environments_extraction_but_for_what_it_sets(home: Path) -> None:
    config = Config(home, "demo")
    assert config.extractors["rules-only"] == config.environment.extraction.model_copy(update={"llm": False})
    (home / "config/extractors/odd.yaml").write_text("modus: rewrite")
    with pytest.raises(ConfigError, match=r"extractors/odd\.yaml: field 'modus'"):
        Config(home, "demo")
