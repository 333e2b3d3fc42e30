"""Addresses of trained policies: paths, policies of the zoo and of the Hugging Face hub, and checkpoints in W&B."""

import difflib
from pathlib import Path

from lightning_maxent.errors import MaxEntError
from lightning_maxent.loggers.wandb_artifacts import local_checkpoint
from lightning_maxent.sharing import hub

_PACKAGE = Path(__file__).parents[1]
ZOO = next(path for path in (_PACKAGE / "zoo", _PACKAGE.parent / "zoo") if path.is_dir())


def local_path(address: str | Path) -> Path:
    """The path on this machine of a trained policy.

    Args:
        address: ``zoo/NAME`` for a policy of the zoo; ``hub:USER/NAME`` or ``hub:USER/NAME@REVISION`` for one of the
            Hugging Face hub, which is downloaded; ``wandb:ENTITY/PROJECT/RUN:best`` for a checkpoint in W&B, which is
            downloaded too; or a path.  The folder ``zoo/NAME`` of yours is ``./zoo/NAME``.

    Raises:
        MaxEntError: if there is no such policy in the zoo, on the hub or in W&B, or they cannot be reached.
    """
    text = str(address)
    if text.startswith(hub.PREFIX):
        return hub.download(text.removeprefix(hub.PREFIX))
    if isinstance(address, Path) or not text.startswith("zoo/"):
        return local_checkpoint(address)
    if (name := text.removeprefix("zoo/").rstrip("/")) in zoo_names():
        return ZOO / name
    if Path(address).exists():
        return Path(address)
    near = difflib.get_close_matches(name, zoo_names(), n=1)
    meant = f"did you mean zoo/{near[0]}?" if near else f"it has {', '.join(zoo_names())}."
    raise MaxEntError(f"There is no policy {name!r} in the zoo; {meant}")


def zoo_names() -> list[str]:
    """Names of the policies of the zoo."""
    return sorted(path.parent.name for path in ZOO.glob("*/config.yaml"))
