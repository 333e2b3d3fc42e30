"""Maximum entropy reinforcement learning on PyTorch Lightning.

An algorithm is a dictionary of losses, keyed by the network that each one moves; everything else is a part.
PyTorch and Lightning take seconds to import, so what this package exports is imported when it is first asked for.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lightning_maxent import environments as environments  # registers them with Gymnasium

if TYPE_CHECKING:
    from lightning_maxent.exports import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """A module of this package, or a name of ``exports``."""
    if name == "__all__" or not name.startswith("_"):
        if find_spec(f"{__name__}.{name}"):
            return import_module(f"{__name__}.{name}")
        if name in __dir__():
            return getattr(import_module("lightning_maxent.exports"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "__all__", *import_module("lightning_maxent.exports").__all__]
