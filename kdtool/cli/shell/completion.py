"""What a shell completes after an option: recipe keys and the names of choices."""

from collections.abc import Callable

Completion = Callable[[str], list[str]]  # the word so far -> words that begin with it


def choices(*names: str) -> Completion:
    """Return the completion of an option that takes one of `names`."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def recipe_keys(incomplete: str) -> list[str]:
    """Complete the key of KEY=VALUE."""
    from kdtool.recipe.problems import known_keys  # takes 0.3 s, and only when keys are completed

    # A phase is one of a list, and --set cannot reach into it.
    keys = [key for key in known_keys() if ".phase." not in key]
    return [f"{key}=" for key in keys if key.startswith(incomplete)]


def providers(incomplete: str) -> list[str]:
    """Complete an execution provider of ONNX Runtime."""
    from kdtool.edge.providers import PROVIDERS

    return choices("auto", *PROVIDERS)(incomplete)
