"""Recipes: one file that says all of a compression, so that a run can be repeated."""

from niwaki.recipes.load import load_recipe, recipe_names
from niwaki.recipes.promise import Promise
from niwaki.recipes.recipe import Recipe

__all__ = ["Promise", "Recipe", "load_recipe", "recipe_names"]


def __dir__() -> list[str]:
    return sorted(__all__)  # what completion shows
