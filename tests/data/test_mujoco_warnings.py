import mujoco
import pytest

from lightning_maxent.data.mujoco_warnings import OUTDATED, without_outdated_attribute
from lightning_maxent.data.spaces import make_env


def test_a_user_sees_no_warning_about_model_files_of_gymnasium(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes MUJOCO_LOG.TXT there
    make_env("HalfCheetah-v5").close()
    assert OUTDATED not in "".join(capfd.readouterr())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("env_id", "drops"), [("HalfCheetah-v5", True), ("Pendulum-v1", False)])
def test_only_that_warning_is_dropped_and_only_while_the_environment_is_made(capsys, env_id, drops):
    before = mujoco.get_mju_user_warning()
    with without_outdated_attribute(env_id):
        handler = mujoco.get_mju_user_warning()
        assert (handler is not before) == drops
        if drops:
            handler(f"{OUTDATED} and will be removed")
            handler("Nan, Inf or huge value in QACC at DOF 0.")
    assert mujoco.get_mju_user_warning() is before
    assert capsys.readouterr().err == ("Nan, Inf or huge value in QACC at DOF 0.\n" if drops else "")
