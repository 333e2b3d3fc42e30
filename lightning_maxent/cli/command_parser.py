"""The parser of a command that has options of its own, such as ``play`` and ``compare``."""

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

from lightning_maxent.errors import MaxEntError

INTERRUPTED = 130  # exit status of a command that was stopped with Ctrl-C, as shells report it


class CommandParser(argparse.ArgumentParser):
    """Raises ``MaxEntError`` with one sentence for wrong arguments.

    Args:
        command: the name of the command.
        description: what ``--help`` shows before the options.
    """

    def __init__(self, command: str, description: str):
        super().__init__(
            prog=f"lightning-maxent {command}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise MaxEntError(f"{message[:1].upper()}{message[1:]}; see `{self.prog} --help`.")

    def check_unknown(self, arguments: Sequence[str], allowed: tuple[str, ...]) -> None:
        """Check the arguments that this parser does not know: they must be options of runs.

        Args:
            arguments: those that ``parse_known_args`` left over.
            allowed: what the names of allowed options begin with.

        Raises:
            MaxEntError: for a value without an option, and for an option that is not allowed.
        """
        for argument in arguments:
            name = argument.partition("=")[0]
            if not argument.startswith("--"):
                raise MaxEntError(f"{argument} belongs to no option; `{self.prog} --help` lists them.")
            if not name.startswith(allowed):
                own = [option for action in self._actions for option in action.option_strings]
                near = difflib.get_close_matches(name, own, n=1)
                meant = f"did you mean {near[0]}?" if near else f"`{self.prog} --help` lists them."
                raise MaxEntError(f"There is no option {name}; {meant}")
