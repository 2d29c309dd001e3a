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


def root_recipe(ws: Workspace, name: str) -> RecipeConfig:
    """The recipe at the start of the chain of ``continues``: its base model is everyone's. Raises ConfigError."""
    seen = [name]
    recipe = recipe_config(ws, name)
    while recipe.continues:
        if recipe.continues in seen:
            raise ConfigError(
                f"config/recipes/{name}.yaml: 'continues' runs in a circle: {' → '.join([*seen, recipe.continues])}",
                "let one of them start from its base_model",
            )
        seen.append(recipe.continues)
        recipe = recipe_config(ws, recipe.continues)
    return recipe


def base_recipe(ws: Workspace, name: str) -> str | None:
    """The environment's zero-step recipe of the same base model; None for itself, or when there is none."""
    if is_base(recipe_config(ws, name)):
        return None
    model = root_recipe(ws, name).base_model
    candidates = (other for other in ws.config.recipes if is_base(recipe_config(ws, other)))
    return next((other for other in candidates if recipe_config(ws, other).base_model == model), None)
