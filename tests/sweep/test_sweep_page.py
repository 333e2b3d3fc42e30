"""The page and the table of a sweep say what its trials did."""

import math
from pathlib import Path

import pytest
import yaml

from lightning_maxent.comparison.page import svg
from lightning_maxent.sweep.page import page, warnings_of
from lightning_maxent.sweep.pictures import draw
from lightning_maxent.sweep.results import Tried, ranked, rows_of
from lightning_maxent.sweep.specification import make_sweep

LR, CRITIC = "model.optimizers.default.init_args.lr", "critic"
SWEEP = make_sweep(
    yaml.safe_load(
        f"""
settings: [sac/half_cheetah, --trainer.max_steps=50_000]
space:
  {LR}: {{min: 1.0e-4, max: 1.0e-2, log: true}}
  data.updates_per_round: {{min: 1, max: 4}}
  critic: {{values: [[], critic/redq, "critic/tqc"]}}
seeds: [0, 1, 2]
trials: 5
"""
    ),
    "the file",
)


def trial(number, value=math.nan, *, status="finished", critic="none", last=0.0, reason="", lr=1e-3):
    values = {LR: lr, "data.updates_per_round": 2, CRITIC: critic}
    scores = {str(seed): value for seed in SWEEP.seeds} if status == "finished" else {}
    curve = {10: 1.0, 20: last if math.isnan(value) else value} if status != "failed" else {}
    return Tried(number, status, value, values, scores, curve, 3.0, reason)


TRIALS = [
    trial(0, 5.0),
    trial(1, status="failed", reason="seed 0, exit code 1: <It> failed."),
    trial(2, status="pruned", last=9.0),
    trial(3, 7.0, critic="critic/redq", lr=1e-2),
]


def test_the_best_is_the_best_of_those_that_finished():
    assert [each.number for each in ranked(TRIALS, "maximize")] == [3, 0, 2, 1]
    assert [each.number for each in ranked(TRIALS, "minimize")] == [0, 3, 2, 1]


def test_the_table_has_values_only_where_they_are():
    rows = rows_of(SWEEP, TRIALS, Path("out"))
    assert [(row["trial"], row["value"], row["seed 1"], row["last_evaluation"]) for row in rows] == [
        (0, 5.0, 5.0, 5.0),
        (1, "", "", ""),
        (2, "", "", 9.0),
        (3, 7.0, 7.0, 7.0),
    ]


def test_the_page_has_the_best_its_commands_and_all_trials():
    text = page("Title <1>", "lightning-maxent sweep x", {}, SWEEP, TRIALS, {})
    assert "<h1>Title &lt;1&gt;</h1>" in text
    assert "Best: trial 3, eval/return_mean 7</h2>" in text
    repeated = f"--{LR}=0.01 --data.updates_per_round=2 --config=critic/redq"
    assert f"fit sac/half_cheetah --trainer.max_steps=50_000 {repeated} --seed_everything=0</code>" in text
    assert f"fit sac/half_cheetah {repeated}</code>" in text  # at length
    assert "<td>failed: seed 0, exit code 1: &lt;It&gt; failed.</td>" in text
    assert "<td>(9)</td>" in text  # of the pruned one: no value


def test_the_page_warns_of_failures_missing_trials_and_few_seeds():
    assert warnings_of(SWEEP, TRIALS) == [
        "1 of 4 trials failed and have no value: 1.",
        "4 of 5 trials are done: these results are preliminary.",
    ]
    single = make_sweep({"settings": ["sac"], "space": {"data.a": {"values": [1, 2]}}, "trials": 1}, "x")
    (warning,) = warnings_of(single, [trial(0, 1.0)])
    assert warning.startswith("Each trial is a single run.")


@pytest.mark.parametrize("trials", [TRIALS, [trial(0, 5.0)], [trial(0, 5.0), trial(1, 5.0)]], ids=len)
def test_all_pictures_are_drawn_with_any_number_of_trials(trials):
    figures = draw(SWEEP, trials, {LR: 0.75, CRITIC: 0.25})
    assert list(figures) == ["history", "curves", "parallel coordinates", "values", "importance"]
    assert all(svg(figure).count("<path") > 2 for figure in figures.values())


def test_parallel_coordinates_place_numbers_by_their_logarithm_and_choices_in_order():
    (axes,) = draw(SWEEP, TRIALS, {})["parallel coordinates"].axes
    lines = [line.get_ydata().tolist() for line in axes.lines if len(line.get_xdata()) == 4]
    worse, best = lines  # the best one lies on top
    assert worse == pytest.approx([0.5, 1 / 3, 0, 0])  # 1e-3 is half way from 1e-4 to 1e-2
    assert best == pytest.approx([1, 1 / 3, 0.5, 1])
