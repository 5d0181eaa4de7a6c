"""What people pass in place of a world model, and what they mean by it."""

from typing import Any

from ..transitions import AbstractTransition


def check_world_model(model: Any) -> None:
    """Refuse what no rollout can step.

    Raises:
        TypeError: it has no `transition`; the message says what to pass instead.
    """
    if isinstance(model, type) or not callable(getattr(model, "transition", None)):
        raise TypeError(f"model must be a world model, but is {named(model)}{mend(model)}.")


def check_filter(model: Any) -> None:
    """Refuse what infers no state from observations.

    Raises:
        TypeError: it has no `posterior`.
    """
    check_world_model(model)
    if not callable(getattr(model, "posterior", None)):
        raise TypeError(
            f"model must be a filter, such as an RSSM, but is {named(model)}, whose state is what "
            "is observed: imagine and replay start from that."
        )


def named(value: Any) -> str:
    """What it is, with its article: "an Ensemble", "the class Markov"."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"a{'n' * (name[0] in 'AEIOUaeiou')} {name}"


def mend(model: Any) -> str:
    """How a world model is made of it, to follow a message; empty where nobody knows."""
    if isinstance(model, type):
        return f": make one, {model.__name__}(...)"
    if isinstance(model, AbstractTransition):
        return ": pass Markov(model), which adds a reward and a discount"
    if hasattr(model, "model") and hasattr(model, "history"):
        return ": pass the model in it, Markov(fitted.model)"
    if hasattr(model, "agent"):
        return ": pass the model in it, trained.agent.model"
    return ""
