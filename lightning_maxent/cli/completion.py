"""Completion of the command line in bash and zsh: a script that the shell reads."""

import re

from lightning_maxent.cli.arguments import COMMANDS, OWN_COMMANDS
from lightning_maxent.cli.configurations import OVERLAYS, methods, pairs, stems
from lightning_maxent.cli.help import HELP
from lightning_maxent.errors import MaxEntError
from lightning_maxent.sharing.addresses import zoo_names

SHELLS = ("bash", "zsh")
_SHOWN = ("--policy", "--ckpt_path", "--runs_dir", "--name", "--episodes")
OPTIONS = {  # of commands with parsers of their own
    "play": (*_SHOWN, "--seed", "--sample"),
    "record": (*_SHOWN, "--seed", "--sample", "--out", "--format", "--fps", "--side_by_side", "--estimates"),
    "export": (*_SHOWN[:-1], "--out", "--format", "--sample"),
    "share": (*_SHOWN, "--out", "--repo", "--half"),
    "compare": ("--variants", "--tasks", "--seeds", "--metric", "--reference", "--out", "--jobs", "--draw_only"),
    "sweep": ("--out", "--trials", "--seeds", "--metric", "--pruning", "--jobs", "--storage", "--draw_only"),
    "verify": ("--critic", "--target", "--algorithm", "--config", "--quick", "--json"),
}

SCRIPT = """{before}_lightning_maxent() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{commands}"
  elif [ "$previous" = --policy ] || [ "$previous" = --ckpt_path ]; then
    words="last {zoo}"
  elif [ "$previous" = --format ] && [ "${{COMP_WORDS[1]}}" = export ]; then
    words="onnx torch_export torchscript"
  elif [ "$previous" = --format ]; then
    words="mp4 gif"
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _lightning_maxent lightning-maxent"""


def completion(shell: str) -> str:
    """The script that completes ``lightning-maxent`` in a shell: commands, configurations and the first options.

    Raises:
        MaxEntError: for a shell other than bash and zsh.
    """
    if shell not in SHELLS:
        raise MaxEntError(f"There is no completion for {shell!r}: give {' or '.join(SHELLS)}.")
    run = [option.rstrip("=") for option in re.findall(r"^  (--[\w.+]+=?)", HELP, re.MULTILINE)]
    overlays = [f"{kind}/{name}" for kind in ("task", *OVERLAYS) for name in stems(kind)]
    offered = {command: [*methods(), *pairs(), *overlays, *run] for command in COMMANDS}
    offered |= {command: list(OPTIONS.get(command, ())) for command in OWN_COMMANDS}
    for command in ("compare", "sweep"):
        offered[command] += [f"{command}/{name}" for name in stems(command)]
    offered["completion"] = list(SHELLS)
    return SCRIPT.format(
        before="autoload -Uz compinit bashcompinit && compinit && bashcompinit\n" if shell == "zsh" else "",
        commands=" ".join([*COMMANDS, *OWN_COMMANDS, "list", "completion"]),
        zoo=" ".join(f"zoo/{name}" for name in zoo_names()),
        cases="\n".join(f'    {command}) words="{" ".join(words)}" ;;' for command, words in offered.items()),
    )
