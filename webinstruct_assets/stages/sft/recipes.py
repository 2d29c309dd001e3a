"""Recipes as the later stages read them: looked up by name, their chain of ``continues`` followed.

In: the workspace's validated recipe files. Out: recipe settings, the checkpoint a recipe starts from, and
the zero-step recipe that is its base model in the scores.
"""

from webinstruct_assets.core.config import RecipeConfig
from webinstruct_assets.core.errors import ConfigError
from webinstruct_assets.core.workspace import Workspace


def recipe_config(ws: Workspace, name: str) -> RecipeConfig:
    """The recipe's file. Raises ConfigError naming the known ones."""
    try:
        return ws.files.recipes[name]
    except KeyError:
        raise ConfigError(
            f"no recipe {name!r}",
            f"add config/recipes/{name}.yaml, or use one of: {', '.join(ws.files.recipes)}",
        ) from None


def is_base(recipe: RecipeConfig) -> bool:
    """Whether the recipe is a base model itself: no step of training, on top of nothing else."""
    return recipe.steps == 0 and recipe.continues is None


def chain_of(ws: Workspace, name: str) -> list[str]:
    """The recipe and what it continues, directly or not, nearest first. Raises ConfigError for a circle."""
    chain = [name]
    while following := recipe_config(ws, chain[-1]).continues:
        if following in chain:
            raise ConfigError(
                f"config/recipes/{name}.yaml: 'continues' runs in a circle: {' → '.join([*chain, following])}",
                "let one of them start from its base_model",
            )
        chain.append(following)
    return chain


def root_recipe(ws: Workspace, name: str) -> RecipeConfig:
    """The recipe at the start of the chain of ``continues``: its base model is everyone's. Raises ConfigError."""
    return recipe_config(ws, chain_of(ws, name)[-1])


def base_recipe(ws: Workspace, name: str) -> str | None:
    """The zero-step recipe of the same base model, one of the environment's first; None for itself, or when there is none."""
    if is_base(recipe_config(ws, name)):
        return None
    model = root_recipe(ws, name).base_model
    candidates = (other for other in (*ws.config.recipes, *ws.files.recipes) if is_base(recipe_config(ws, other)))
    return next((other for other in candidates if recipe_config(ws, other).base_model == model), None)
