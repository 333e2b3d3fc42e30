"""An address of a policy is a path, a name of the zoo, or a repository of the hub."""

import re
from pathlib import Path

import pytest
from cli_helpers import refused

from lightning_maxent import MaxEntError
from lightning_maxent.sharing.addresses import ZOO, local_path, zoo_names

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def test_a_name_of_the_zoo_is_its_folder_and_any_other_address_a_path():
    assert local_path("zoo/pendulum") == ZOO / "pendulum"
    Path("zoo/mine").mkdir(parents=True)
    assert local_path("zoo/mine") == Path("zoo/mine")
    for path in ("runs/a", "./zoo/pendulum", Path("zoo/pendulum")):
        assert local_path(path) == Path(path)


def test_an_unknown_name_of_the_zoo_is_refused_with_a_near_one_or_all():
    with pytest.raises(MaxEntError, match=r"^There is no policy 'pendulm' in the zoo; did you mean zoo/pendulum\?$"):
        local_path("zoo/pendulm")
    with pytest.raises(MaxEntError, match=rf"in the zoo; it has {re.escape(', '.join(zoo_names()))}\.$"):
        local_path("zoo/xyz")


def test_a_policy_is_given_once(capsys):
    assert "One of the arguments --policy --ckpt_path is required" in refused(capsys, "play")
    both = refused(capsys, "play", "--policy=zoo/pendulum", "--ckpt_path=last")
    assert "not allowed with argument --policy" in both
