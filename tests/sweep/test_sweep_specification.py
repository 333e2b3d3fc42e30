"""The file of a sweep: what it may say, and the sentence that a mistake ends in."""

import pytest
import yaml

from lightning_maxent.cli.configurations import BUILT_IN_CONFIGS
from lightning_maxent.errors import MaxEntError
from lightning_maxent.sweep.results import at_length, check_of, command_of
from lightning_maxent.sweep.specification import Numbers, make_sweep

LR = "model.optimizers.default.init_args.lr"
GOOD = f"""
settings: [sac/half_cheetah, --trainer.max_steps=50_000]
space:
  --{LR}: {{min: 1e-5, max: 1.0e-2, log: true}}
  data.batch_size: {{values: [64, 128]}}
  data.updates_per_round: {{min: 1, max: 4}}
  critic: {{values: [critic/redq, []]}}
  size:
    values:
      small: ["--model.critic.init_args.network.init_args.hidden_dims=[64, 64]", --model.policy_delay=1]
      large: --model.critic.init_args.network.init_args.hidden_dims=[256, 256]
first:
  - {{{LR}: 3e-4, --data.batch_size: 64, data.updates_per_round: 1, critic: none, size: large}}
"""


def content(text: str = GOOD, **changes):
    return yaml.safe_load(text) | changes


def space(**parameters):
    return content(space={"--data.batch_size": parameters}, first=[])


def test_settings_of_a_trial_are_options_and_configurations_in_the_order_of_the_space():
    sweep = make_sweep(content(), "the file")
    values = {LR: 1e-5, "data.batch_size": "64", "data.updates_per_round": 3, "critic": "critic/redq", "size": "small"}
    assert sweep.settings_of(values) == [
        "sac/half_cheetah",
        "--trainer.max_steps=50_000",
        f"--{LR}=1.0e-05",  # which YAML reads as a number, and 1e-05 as a text
        "--data.batch_size=64",
        "--data.updates_per_round=3",
        "critic/redq",
        "--model.critic.init_args.network.init_args.hidden_dims=[64, 64]",
        "--model.policy_delay=1",
    ]
    assert sweep.settings_of(values | {"critic": "none", "size": "large"})[5:] == [
        "--model.critic.init_args.network.init_args.hidden_dims=[256, 256]"
    ]


def test_whole_ends_mean_whole_numbers_and_others_do_not():
    sweep = make_sweep(content(), "the file")
    kinds = {name: each.whole for name, each in sweep.space.items() if isinstance(each, Numbers)}
    assert kinds == {LR: False, "data.updates_per_round": True}
    assert [make_sweep(space(min=1, max=end), "x").space["data.batch_size"].whole for end in ("1e3", "1.0e3")] == [
        True,
        False,
    ]
    (half,) = make_sweep(space(min=1, max=2.5), "the file").space.values()
    assert half.settings(2) == ["--data.batch_size=2.0"]


def test_first_values_are_those_of_the_space_however_they_are_written():
    (first,) = make_sweep(content(), "the file").first
    assert first == {
        LR: 3e-4,
        "data.batch_size": "64",
        "data.updates_per_round": 1,
        "critic": "none",
        "size": "large",
    }


def test_short_names_tell_parameters_apart():
    two = {f"--model.optimizers.{part}.init_args.lr": {"min": 0.1, "max": 1.0} for part in ("critic", "policy")}
    sweep = make_sweep(content(space=two | {"data.batch_size": {"values": [1, 2]}}, first=[]), "the file")
    assert list(sweep.short_names.values()) == ["critic.lr", "policy.lr", "batch_size"]


def test_the_command_of_a_trial_has_configurations_first_and_those_of_the_space_as_options():
    settings = ["sac/half_cheetah", "--data.batch_size=64", "critic/redq", "--model.x=[1, 2]"]
    assert command_of(settings, 3) == (
        "lightning-maxent fit sac/half_cheetah --data.batch_size=64 --config=critic/redq '--model.x=[1, 2]' "
        "--seed_everything=3"
    )


def test_at_length_a_trial_has_the_length_of_its_configuration():
    sweep = make_sweep(content(settings=["discrete_sac/cartpole", "--trainer.max_steps=5"]), "the file")
    found = at_length(sweep, sweep.first[0])
    assert found is not None
    assert found[1] == "50,000 environment steps"  # of task/cartpole
    assert not any("max_steps" in item for item in found[0])
    short = make_sweep(content(settings=["sac/half_cheetah"]), "the file")
    assert at_length(short, short.first[0]) is None


def test_the_check_compares_the_best_with_the_first_values_on_new_seeds():
    sweep = make_sweep(content(seeds=[0, 4]), "the file")
    check = check_of(sweep, sweep.first[0] | {"data.batch_size": "128"})
    assert check["seeds"] == [5, 6, 7]
    assert check["variants"]["first values"] == sweep.settings_of(sweep.first[0])
    assert "--data.batch_size=128" in check["variants"]["best"]
    assert check_of(make_sweep(content(first=[]), "x"), sweep.first[0])["variants"]["settings alone"] == sweep.settings


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (content(trails=5), "A sweep (the file) has no key 'trails'; did you mean 'trials'?"),
        (content(settings=None), "The file does not say what to train: give it settings."),
        (content(space={}), "The file does not say what to search: give it space."),
        (content(space=["lr"]), "space of the file must map each parameter to its values"),
        (space(min=1), "numbers, as in {min: 0.0001, max: 0.01, log: true}"),
        (space(min=1, max=2, logs=True), "has no key 'logs'; did you mean 'log'?"),
        (space(values=[1, 2], log=True), "has no key 'log'; known are values."),
        (space(min=2, max=1), "must be two numbers, min the smaller one"),
        (space(min="a", max=1), "must be two numbers, min the smaller one"),
        (space(min=0, max=1, log=True), "true only if min is above 0"),
        (space(min=1, max=2, step=0), "step of data.batch_size in the space of the file must be a number above 0"),
        (space(min=1, max=2, step=0.5), "must be whole, as min and max are"),
        (space(min=0.0, max=1.0, step=0.3), "must go from min to max in whole steps"),
        (space(values=[1]), "must be a list of at least two"),
        (space(values=[1, 1]), "contain a value twice: 1, 1"),
        (space(values={"a": 1, "b": 2}), "must be a list, since it is an option"),
        (
            content(space={"batch": {"min": 1, "max": 2}}),
            "has numbers, but is no option: name it as on the command line",
        ),
        (content(space={"--dat.batch": {"values": [1, 2]}}), "There is no option --dat.batch"),
        (content(space={"data.a": {"values": [1, 2]}, "--data.a": {"values": [1, 2]}}), "has data.a twice"),
        (content(space={"critic": {"values": ["critic/redk", "critic/tqc"]}}), "no configuration 'critic/redk'"),
        (content(space={"seed": {"values": ["--seed_everything=1", []]}}), "may not set --seed_everything"),
        (content(direction="up"), "direction of the file must be maximize or minimize, but is 'up'"),
        (content(trials=0), "trials of the file must be at least 1, but is 0"),
        (content(trials=2.5), "trials of the file must be a whole number, but is 2.5"),
        (content(seeds=[0, 0]), "contain a seed twice"),
        (content(pruning="medain"), "pruning of the file must be median, hyperband or none, but is 'medain'"),
        (content(pruning={"warmup": 3}), "no key 'warmup'; did you mean 'warmup_steps'?"),
        (
            content(pruning={"warmup_steps": -1}),
            "warmup_steps of the pruning of the file must be a whole number from 0",
        ),
        (content(first=[{"data.batch_size": 64}]), "must give a value of each of"),
        (content(first=[content()["first"][0] | {"critic": "critic/tqc"}]), "outside the space (critic: critic/tqc)"),
    ],
)
def test_a_mistake_ends_in_one_sentence(given, sentence):
    with pytest.raises(MaxEntError) as error:
        make_sweep(given, "the file")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", sorted((BUILT_IN_CONFIGS / "sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_built_in_sweeps_are_valid_and_begin_with_the_values_of_their_configurations(path):
    sweep = make_sweep(yaml.safe_load(path.read_text()), path.name)
    assert sweep.first
