"""Error messages name the right line of code for an error of foreign code."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_maxent import MaxEntError, errors
from lightning_maxent.errors import ForeignError, errors_of


def sentence_of(call) -> str:
    with pytest.raises(ForeignError) as raised, errors_of("The robot"):
        call()
    return str(raised.value)


def code_in(path: Path, text: str):
    """The function ``call`` that the text defines, as if it stood in that file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    names = {"__name__": path.stem}
    exec(compile(text, str(path), "exec"), names)
    return names["call"]


@pytest.mark.parametrize(
    "mistake",
    [
        "__import__('random').choice([])",
        "__import__('numpy').zeros(2) @ [1, 2, 3]",
        "__import__('torch').zeros(2).view(3)",
    ],
)
def test_an_error_raised_in_a_library_is_reported_at_the_line_of_the_user(mistake, tmp_path):
    own = tmp_path / "robot.py"
    call = code_in(own, f"def call():\n    wanted = 1\n    {mistake}\n")
    assert sentence_of(call).endswith(f"({own}, line 3).")


def test_an_error_is_reported_at_the_deepest_line_of_the_user(tmp_path):
    inner = code_in(tmp_path / "inner.py", "def call():\n    raise ValueError('no ground')\n")
    assert sentence_of(lambda: inner()) == f"The robot raised ValueError: no ground ({tmp_path}/inner.py, line 2)."


def test_the_line_of_the_user_is_preferred_to_that_of_an_installed_package_and_that_to_none(tmp_path, monkeypatch):
    monkeypatch.setattr(errors, "_INSTALLED", {tmp_path / "installed"})
    package = code_in(tmp_path / "installed/simulator/core.py", "def call():\n    {}['joint']\n")
    own = code_in(tmp_path / "site-packages-of-mine/robot.py", "def call():\n    handed_on()\n")
    own.__globals__["handed_on"] = package
    assert sentence_of(own).endswith(f"({tmp_path}/site-packages-of-mine/robot.py, line 2).")
    monkeypatch.setattr(errors, "_STANDARD", {Path(__file__).parent})  # so that this test's own lines do not count
    assert sentence_of(package).endswith(f"({tmp_path}/installed/simulator/core.py, line 2).")
    plumbing = code_in(tmp_path / "installed/gymnasium/core.py", "def call():\n    {}['joint']\n")
    assert sentence_of(plumbing) == "The robot raised KeyError: 'joint'."


def test_code_counts_as_installed_by_its_location_not_by_its_name(tmp_path):
    assert errors.code_owner_rank(str(tmp_path / "site-packages" / "gymnasium" / "robot.py")) == 2
    assert (
        errors.code_owner_rank(torch.__file__)
        == errors.code_owner_rank(np.__file__)
        == errors.code_owner_rank(random.__file__)
        == 0
    )
    assert errors.code_owner_rank(errors.__file__) == errors.code_owner_rank("<frozen importlib._bootstrap>") == 0
    assert errors.code_owner_rank(pytest.__file__) == 1


def test_an_error_reraised_by_a_library_has_the_line_of_its_cause(monkeypatch, tmp_path):
    call = code_in(tmp_path / "robot.py", "def call():\n    None + 1\n")
    try:
        call()
    except TypeError as error:
        first = error
    again = TypeError("creator failed")
    again.__cause__ = first
    assert errors.source_line(again) == f"{tmp_path}/robot.py, line 2"


def test_a_syntax_error_is_reported_at_its_own_line(tmp_path, monkeypatch):
    (tmp_path / "crooked.py").write_text("x = 1\nclass E(object)\n")
    monkeypatch.syspath_prepend(tmp_path)
    sentence = sentence_of(lambda: __import__("crooked"))
    assert sentence == f"The robot raised SyntaxError: expected ':' ({tmp_path}/crooked.py, line 2)."


def test_errors_of_passes_a_max_ent_error_unchanged():
    with pytest.raises(MaxEntError, match=r"^as it was$") as raised, errors_of("The robot"):
        raise MaxEntError("as it was")
    assert not isinstance(raised.value, ForeignError)


def test_an_error_without_text_is_described_by_its_type():
    def call():
        assert random is None

    assert sentence_of(call).startswith("The robot raised AssertionError")
