"""The completion of the shell offers commands, configurations and options that exist, and loads no PyTorch."""

import re
import shutil
import subprocess
import sys

import pytest
from cli_helpers import environment, refused

from lightning_maxent.cli.arguments import COMMANDS, OWN_COMMANDS
from lightning_maxent.cli.command import main
from lightning_maxent.cli.completion import OPTIONS, completion
from lightning_maxent.cli.configurations import find_configs

ASK = """
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _lightning_maxent; echo "${{COMPREPLY[@]}}"
"""


def offered(*words: str) -> list[str]:
    """What bash offers for the last word of a line."""
    asked = ASK.format(words=" ".join(f'"{word}"' for word in ("lightning-maxent", *words)))
    done = subprocess.run(["bash", "-c", completion("bash") + asked], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["re"], ["record"]),
        (["fit", "sac/pen"], ["sac/pendulum"]),
        (["fit", "sac/pendulum", "--trainer.max"], ["--trainer.max_steps"]),
        (["play", "--ep"], ["--episodes"]),
        (["play", "--policy", "zoo/pen"], ["zoo/pendulum"]),
        (["test", "--ckpt_path", "la"], ["last"]),
        (["export", "--format", "torch"], ["torch_export", "torchscript"]),
        (["record", "--format", ""], ["mp4", "gif"]),
        (["compare", "compare/pen"], ["compare/pendulum"]),
        (["sweep", "sw"], ["sweep/cartpole"]),
        (["sweep", "--tr"], ["--trials"]),
        (["completion", "z"], ["zsh"]),
        (["export", "--out", "x"], []),
    ],
)
def test_bash_offers_what_continues_the_line(words, expected):
    assert offered(*words) == expected


def test_every_command_is_offered():
    assert offered("") == [*COMMANDS, *OWN_COMMANDS, "list", "completion"]


def test_every_configuration_that_is_offered_exists():
    names = [word for word in offered("fit", "") if not word.startswith("-")]
    assert len(names) > 40
    assert all(find_configs(name) for name in names)


@pytest.mark.parametrize("command", list(OPTIONS))
def test_every_option_that_is_offered_is_one_of_the_command(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert not stop.value.code
    assert set(OPTIONS[command]) <= set(re.findall(r"--\w+", capsys.readouterr().out))


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_takes_the_script():
    script = completion("zsh") + "\nprint ${_comps[lightning-maxent]}"
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, check=True)
    assert "_bash_complete -o default -F _lightning_maxent" in done.stdout


def test_the_script_is_printed_without_pytorch():
    code = "import sys; from lightning_maxent.cli.command import main; main(['completion', 'bash']); "
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert done.stdout.startswith(completion("bash"))


@pytest.mark.parametrize("shell", [[], ["fish"], ["bash", "zsh"]])
def test_another_shell_is_refused_in_one_sentence(shell, capsys):
    assert "bash" in refused(capsys, "completion", *shell)
