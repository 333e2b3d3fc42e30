"""What can be compared, and the one sentence for what cannot."""

import re
from pathlib import Path

import pytest
import yaml

from lightning_maxent.comparison.specification import contents, flat, folder_of, joined_options, make_comparison
from lightning_maxent.errors import MaxEntError

GOOD = {"variants": {"a": ["value_sac/pendulum"], "b": "sac/pendulum"}, "seeds": [0, 1]}


def make(**content):
    return make_comparison(GOOD | content, "the file")


def test_omitted_keys_of_a_comparison_have_defaults():
    comparison = make()
    assert comparison.variants == {"a": ["value_sac/pendulum"], "b": ["sac/pendulum"]}
    assert comparison.tasks == {"Pendulum-v1": []}  # the environment that all variants play
    assert comparison.metric == "eval/return_mean"
    assert (comparison.settings, comparison.normalization) == ([], {})
    assert (comparison.pairs, comparison.reference) == ({}, None)
    assert make(seeds=3).seeds == [3]


def test_pairs_of_a_comparison_are_optional_and_name_a_variant_and_a_task():
    assert make(tasks=["Hopper-v5", "Walker2d-v5"], pairs={"b": {"Hopper-v5": "value_sac/hopper"}}).pairs == {
        "b": {"Hopper-v5": ["value_sac/hopper"]}
    }
    assert make(pairs={"a": {"Pendulum-v1": []}}).pairs == {"a": {"Pendulum-v1": []}}  # the task without a name
    assert make(pairs=None).pairs == {}


def test_a_list_of_tasks_holds_environment_ids():
    assert make(tasks=["Hopper-v5"]).tasks == {"Hopper-v5": ["--data.init_args.env_id=Hopper-v5"]}


def test_the_environment_of_a_task_without_name_may_come_from_an_option():
    assert list(make(settings=["--data.env_id=Hopper-v5"]).tasks) == ["Hopper-v5"]


def test_settings_are_read_from_left_to_right_and_the_later_wins():
    Path("over.yaml").write_text("data: {init_args: {batch_size: 8, capacity: 9}}")
    found = flat(contents(["value_sac/pendulum", "--data.batch_size=7", "over.yaml", "--data.init_args.capacity=10"]))
    assert (found["data.batch_size"], found["data.capacity"], found["data.env_id"]) == (8, 10, "Pendulum-v1")
    assert found["model"] == "lightning_maxent.algorithms.value_sac.ValueSAC"


def test_options_are_joined_with_their_values():
    given = ["--data.a", "1", "--data.b=2", "name", "--model.c", "[3, 4]", "--jobs", "2"]
    assert joined_options(given) == ["--data.a=1", "--data.b=2", "name", "--model.c=[3, 4]", "--jobs", "2"]


def test_the_comparison_shown_in_the_documents_is_valid():
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text()
    (block,) = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "variants:" in text]
    assert len(make_comparison(yaml.safe_load(block), "the page").variants) == 2


def test_a_name_becomes_a_single_folder():
    assert folder_of("lightning_maxent/RandomMDP-v0") == "lightning_maxent-RandomMDP-v0"
    assert "/" not in folder_of("../../up")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"varients": {}}, "(the file) has no key 'varients'; did you mean 'variants'?"),
        ({"banana": 1}, "(the file) has no key 'banana'; known are variants, tasks, seeds"),
        ({"seeds": []}, "The file names no seeds to compare"),
        ({"variants": None}, "names no variants to compare"),
        ({"seeds": [0, 0]}, "contain a seed twice"),
        ({"seeds": ["a"]}, "must be a list of whole numbers"),
        ({"seeds": [True]}, "must be a list of whole numbers"),
        ({"variants": ["value_sac/pendulum"]}, "must map names to lists of settings"),
        ({"variants": {"a": [3]}}, "must be a list of configurations and of options"),
        ({"variants": {"a": ["sac/pendulm"]}}, "no configuration 'sac/pendulm', neither a file nor built in"),
        ({"variants": {"a b": ["value_sac/pendulum"], "a/b": ["value_sac/pendulum"]}}, "give the same folder"),
        ({"variants": {"a": ["value_sac/pendulum"], "b": ["value_sac/hopper"]}}, "have different environments"),
        ({"settings": ["--seed_everything=1"]}, "may not set --seed_everything"),
        ({"settings": ["--dta.batch_size=1"]}, "no option --dta.batch_size"),
        ({"settings": ["--data.batch_size 64"]}, "with its value after an equals sign"),
        ({"settings": ["--model.hidden_dims=[64, 64"]}, "is not valid YAML: is a bracket or a quote open"),
        ({"normalization": {"Hopper-v5": [0, 1]}}, "for each of the tasks Pendulum-v1"),
        ({"normalization": {"Pendulum-v1": [1, 1]}}, "must be [low, high]"),
        ({"normalization": {"Pendulum-v1": [float("nan"), 1]}}, "must be [low, high]"),
        ({"normalization": {"Pendulum-v1": [0, float("inf")]}}, "must be [low, high]"),
        ({"normalization": {"Pendulum-v1": 3}}, "must be [low, high]"),
        ({"pairs": ["a"]}, "pairs of the file must map each name of a variant"),
        ({"pairs": {"a": ["--data.batch_size=1"]}}, "pairs of a in the file must map each name of a task"),
        ({"pairs": {"banana": {}}}, "name a variant 'banana' that is not compared; known are a, b."),
        (
            {"pairs": {"a": {"Pendulum-v0": []}}},
            "a task 'Pendulum-v0' that is not compared; did you mean 'Pendulum-v1'?",
        ),
        ({"variants": {"plain": ["value_sac/pendulum"]}, "pairs": {"plane": {}}}, "did you mean 'plain'?"),
        ({"pairs": {"a": {"Pendulum-v1": [3]}}}, "The pair of a and Pendulum-v1 of the file must be a list"),
        ({"pairs": {"a": {"Pendulum-v1": ["sac/pendulm"]}}}, "no configuration 'sac/pendulm'"),
        (
            {"pairs": {"a": {"Pendulum-v1": ["--name=x"]}}},
            "The pair of a and Pendulum-v1 of the file may not set --name",
        ),
        ({"reference": 3}, "reference of the file must be the path of a csv, but is 3"),
    ],
)
def test_a_mistake_ends_in_one_sentence(content, sentence):
    with pytest.raises(MaxEntError) as error:
        make(**content)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
