"""Maximum entropy reinforcement learning on PyTorch Lightning.

An algorithm defines one loss for each network that it trains; critics, policies, targets and so on are exchangeable
parts.  PyTorch and Lightning take seconds to import, so the names of this package are imported at their first use.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lightning_maxent import environments as environments  # registers them with Gymnasium

if TYPE_CHECKING:
    from lightning_maxent.exports import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """Import a module of this package, or a name of ``exports``, and keep it: jsonargparse asks thousands of times."""
    if name == "__all__" or not name.startswith("_"):
        if find_spec(f"{__name__}.{name}"):
            return import_module(f"{__name__}.{name}")
        exports = import_module("lightning_maxent.exports")
        if name in exports.__all__ or name == "__all__":
            return globals().setdefault(name, getattr(exports, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*{*globals(), "__all__", *import_module("lightning_maxent.exports").__all__}]
