"""Reference curves beside ours: for the same environment, up to our last step, and without effect on the statistics."""

import csv
import importlib
from functools import partial
from html import unescape
from pathlib import Path

import pytest
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_maxent.comparison import command
from lightning_maxent.comparison.reference import COLUMNS, read_reference
from lightning_maxent.errors import MaxEntError

pytestmark = pytest.mark.usefixtures("fake_fit")
OUT = Path("out")
ROOT = Path(__file__).parents[2]
compare = partial(command.compare, parse=lambda arguments: None)  # what the fake takes, the real one does not
COMPARISON = """
variants: {a: [value_sac/pendulum], b: [sac/pendulum]}
tasks: {swing: [], hop: [--data.env_id=Hopper-v5]}
seeds: [0, 1]
reference: others.csv
"""
ROWS = [  # ours are evaluated at 20 and 40 steps
    "Pendulum-v1,sac,40,-300.5,20,5",
    "Pendulum-v1,sac,10,-1200,50,5",  # in whatever order
    "Pendulum-v1,td3,20,-900,30,4",
    "Pendulum-v1,sac,60,-150,10,5",
    "Pendulum-v1,td3,30,-800,25,5",
    "Pendulum-v1,ppo,60,-700,10,3",
    "hop,sac,20,1,1,5",  # an environment, not the name of a task
]


def reference(rows: list[str] = ROWS, path: str = "others.csv") -> None:
    Path(path).write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")


def drawn(axes: Axes) -> dict[str, list[tuple[float, float, float]]]:
    """``label -> (steps, mean, deviation) of each point``, as the picture joins them."""
    found = {}
    for curve in axes.containers:
        line, _, (bars,) = curve.lines
        lengths = [(high - low) / 2 for (_, low), (_, high) in bars.get_segments()]
        found[curve.get_label()] = [(*point, bar) for point, bar in zip(line.get_xydata(), lengths, strict=True)]
    return found


@pytest.fixture
def pictures(monkeypatch) -> dict[str, Axes]:
    """The axes of all later pictures, by title."""
    found = {}

    def note(figure):
        (axes,) = figure.axes
        found[axes.get_title()] = axes
        return "<svg/>"

    monkeypatch.setattr(command, "svg", note)
    return found


def made(text: str = COMPARISON, *args: str) -> str:
    """The page as HTML."""
    Path("comparison.yaml").write_text(text)
    compare(["comparison.yaml", f"--out={OUT}", *args])
    return unescape((OUT / "page.html").read_text())


def test_each_algorithm_is_a_curve_of_its_own_beside_the_task_with_its_environment(pictures):
    reference()
    made()
    assert drawn(pictures["swing"]) == {
        "reference sac, mean ± deviation of 5 seeds": [(10, -1200, 50), (40, -300.5, 20)],
        "reference td3, mean ± deviation of 4 to 5 seeds": [(20, -900, 30), (30, -800, 25)],
    }
    assert drawn(pictures["hop"]) == {}
    lines = [curve.lines[0] for curve in pictures["swing"].containers]
    assert {line.get_color() for line in lines} <= {"black", "grey"}
    assert len({line.get_marker() for line in lines}) == 2
    (legend,) = pictures["swing"].figure.legends
    assert [text.get_text() for text in legend.get_texts()][:2] == ["a (2 runs)", "b (2 runs)"]
    assert len(legend.get_texts()) == 4


def test_the_page_describes_reference_curves_up_to_the_last_common_step():
    reference([*ROWS, "Hopper-v5,a <&> b,20,5,2,7", "Hopper-v5,a <&> b,30,6,2,7"], "o<>.csv")
    page = made(COMPARISON.replace("others", "o<>"))
    assert "mean ± one standard deviation of 4 to 7 seeds of the reference, from o<>.csv." in page
    assert (
        "Reference: sac -300.5 ± 20 at 40 environment steps; td3 -900 ± 30 at 20 environment steps.</p>\n<h3>hop"
        in page
    )
    assert "Reference: a <&> b 5 ± 2 at 20 environment steps.</p>" in page
    assert "a <&> b" not in (OUT / "page.html").read_text()


@pytest.mark.parametrize(
    ("rows", "changed"),
    [
        (["Pendulum-v1,sac,41,-300,20,5"], {}),
        (["Walker2d-v5,sac,40,-300,20,5"], {}),
        ([], {}),
        (ROWS, {"metric": "eval/sampled_return_mean"}),
        (
            ROWS,
            {"tasks": {"swing": []}, "variants": {"a": ["value_sac/pendulum"], "b": ["value_sac/hopper"]}},
        ),  # two environments
    ],
)
def test_a_reference_without_matching_tasks_or_metric_is_not_drawn(pictures, rows, changed):
    reference(rows)
    page = made(yaml.safe_dump(yaml.safe_load(COMPARISON) | changed))
    assert drawn(pictures["swing"]) == {}
    assert "others.csv has no curve for these tasks" in page
    assert "mean ± one standard deviation" not in page
    assert "Reference:" not in page


def test_a_page_without_a_reference_does_not_mention_one():
    assert "eference" not in made(COMPARISON.replace("reference: others.csv", ""))


def test_changing_the_reference_does_not_rerun_anything(pictures):
    reference()
    made(COMPARISON.replace("reference: others.csv", ""))
    logs = {path: path.read_text() for path in OUT.rglob("log.txt")}
    page = made()
    assert len(drawn(pictures["swing"])) == 2
    assert "made with other settings" not in page
    reference(["Pendulum-v1,ppo,20,1,1,5"])
    made()
    assert list(drawn(pictures["swing"])) == ["reference ppo, mean ± deviation of 5 seeds"]
    assert {path: path.read_text() for path in OUT.rglob("log.txt")} == logs


def test_a_reference_is_looked_up_beside_the_comparison_file_or_in_the_current_folder(pictures, monkeypatch):
    def seen() -> list[str]:
        return [label.split(",")[0].removeprefix("reference ") for label in drawn(pictures["swing"])]

    Path("folder").mkdir()
    Path("folder/mine.yaml").write_text(COMPARISON)
    run = ["folder/mine.yaml", f"--out={OUT}"]
    reference(["Pendulum-v1,here,20,1,1,5"])
    compare(run)
    assert seen() == ["here"]
    reference(["Pendulum-v1,beside,20,1,1,5"], "folder/others.csv")
    compare(run)
    assert seen() == ["beside"]
    compare([*run, "--reference", "others.csv", "--draw_only"])
    assert seen() == ["here"]
    compare([*run, "--reference=", "--draw_only"])
    assert seen() == []
    monkeypatch.chdir("folder")  # where it was begun says which it was
    compare([f"--out=../{OUT}", "--draw_only"])
    assert seen() == ["beside"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            None,
            r"others.csv cannot be read \(No such file or directory\): give the path of a csv with env, algorithm, ",
        ),
        (
            "",
            "has no column env and no algorithm and no env_steps and no return_mean and no return_std and no seeds; it ",
        ),
        (
            "env,algorithm,env_steps,return_mean,seeds\n",
            "has no column return_std; it needs env, algorithm, env_steps, ",
        ),
        ("x,sac,1,2,3,4\nx,sac,1,much,3,4", "^return_mean in line 3 of the reference .* a number, but is 'much'"),
        ("x,sac,,2,3,4", "^env_steps in line 2 of the reference .* must be a number from 0, but is ''"),
        ("x,sac,1,nan,3,4", "^return_mean in line 2 .* must be a number, but is 'nan'"),
        ("x,sac,1,-2,-3,4", "^return_std in line 2 .* must be a number from 0, but is '-3'"),
        ("x,sac,1,2,3", "^seeds in line 2 .* must be a number from 0, but is None"),
        (b"\x89PNG\r\n\x00\xff", "others.csv (has no column env|cannot be read)"),
    ],
)
def test_a_mistake_ends_in_one_sentence_before_the_first_run(content, sentence):
    if isinstance(content, bytes):
        Path("others.csv").write_bytes(content)
    elif content is not None:
        header = "" if not content or content.startswith("env") else ",".join(COLUMNS) + "\n"
        Path("others.csv").write_text(header + content)
    with pytest.raises(MaxEntError, match=sentence) as error:
        made()
    assert "\n" not in str(error.value)
    assert not OUT.exists()


def test_a_reference_saved_by_a_spreadsheet_is_read():
    Path("others.csv").write_bytes(
        b"\xef\xbb\xbfenv,algorithm,env_steps,return_mean,return_std,seeds\r\nx,sac,1,2,3,4\r\n"
    )
    (curve,) = read_reference(Path("others.csv"))
    assert (curve.env_id, curve.algorithm, curve.points) == ("x", "sac", ((1, 2, 3, 4),))


def test_the_built_in_reference_is_valid():
    path = ROOT / "configs/compare/mujoco_v5_returns.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    curves = read_reference(path)
    assert sum(len(curve.points) for curve in curves) == len(rows)
    assert {curve.algorithm for curve in curves} == {"sac", "td3", "ddpg", "ppo", "a2c"}
    for curve in curves:
        assert {50_000, 100_000, 1_000_000} <= {point.env_steps for point in curve.points}


def test_learning_curves_draw_each_algorithm_too(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: figures.append(figure))
    learning_curves = importlib.import_module("learning_curves")
    rows = [
        {"algorithm": "SAC", "env": "Pendulum-v1", "seed": "0", "env_steps": steps, "return_mean": "-500"}
        for steps in ("20", "40")
    ]
    reference()
    learning_curves.draw(rows, read_reference(Path("others.csv")), Path("picture.png"))
    (axes,) = figures[0].axes
    assert drawn(axes) == {
        "reference sac, mean ± deviation of 5 seeds": [(10, -1200, 50), (40, -300.5, 20)],
        "reference td3, mean ± deviation of 4 to 5 seeds": [(20, -900, 30), (30, -800, 25)],
    }
    assert "reference td3, mean ± deviation of 4 to 5 seeds" in [
        text.get_text() for text in axes.get_legend().get_texts()
    ]
