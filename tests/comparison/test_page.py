"""The numbers, pictures and page that are made from runs."""

import base64
import csv
import re
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lightning_maxent.comparison import command
from lightning_maxent.comparison.page import STYLE, number, svg
from lightning_maxent.comparison.pictures import style_of
from lightning_maxent.errors import MaxEntError

pytestmark = pytest.mark.usefixtures("fake_fit")
OUT = Path("out")
compare = partial(command.compare, parse=lambda arguments: None)  # what the fake takes, the real one does not
COMPARISON = """
variants:
  low <&> plain: [value_sac/pendulum]
  high: [sac/pendulum, --model.bonus=10]
tasks: [Pendulum-v1, Hopper-v5]
seeds: [0, 1, 2, 3]
"""


def made(text: str = COMPARISON, *args: str) -> str:
    Path("comparison.yaml").write_text(text)
    compare(["comparison.yaml", f"--out={OUT}", *args])
    return (OUT / "page.html").read_text()


def table(name: str) -> list[dict[str, str]]:
    with (OUT / name).open(newline="") as file:
        return list(csv.DictReader(file))


class WellFormed(HTMLParser):
    """Checks that every tag is closed, and records the links that a browser would fetch."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.seen, self.sources, self.text = [], set(), [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_well_formed_and_holds_everything_itself(monkeypatch):
    monkeypatch.setattr(command, "svg", svg)
    text = made()
    page = WellFormed(text)
    assert "script" not in page.seen
    assert "link" not in page.seen
    assert page.sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert not re.search(r"https?://|url\(", text)
    for said in ("low <&> plain", "high", "Pendulum-v1", "Hopper-v5", "comparison.yaml", "torch", "All 32 evaluations"):
        assert said in page.text, said
    pictures = [base64.b64decode(source.partition(",")[2]).decode() for source in page.sources]
    assert pictures == [path.read_text() for path in sorted((OUT / "pictures").iterdir(), key=_order(pictures))]
    for picture in pictures:
        assert ElementTree.fromstring(picture).tag.endswith("svg")
        assert not re.search(r"(href|src)=\"(?!#)", picture)


def _order(pictures):
    return lambda path: pictures.index(path.read_text())


def test_the_evaluations_of_the_page_equal_those_of_the_runs():
    made()
    rows = table("evaluations.csv")
    assert len(rows) == 2 * 2 * 4 * 2
    (row,) = [
        row
        for row in rows
        if (row["variant"], row["task"], row["seed"], row["env_steps"]) == ("high", "Hopper-v5", "3", "40")
    ]
    assert (row["eval/return_mean"], row["eval/sampled_return_mean"]) == ("16.0", "3")
    assert float(row["seconds"]) == 10 / 10 + 30 / 5
    assert (row["gradient_steps"], row["status"]) == ("30", "finished")


def test_the_statistics_of_the_page_are_of_the_last_evaluations():
    made(COMPARISON + "normalization: {Pendulum-v1: [0, 10], Hopper-v5: [0, 100]}")
    found = {(row["task"], row["variant"], row["statistic"]): row for row in table("statistics.csv")}
    one = found["Hopper-v5", "high", "interquartile mean"]  # of 10, 12, 14, 16
    assert (float(one["value"]), one["runs"]) == (13, "4")
    assert 10 <= float(one["low"]) < 13 < float(one["high"]) <= 16
    # from 20 to 40 steps the score doubles from seed: (0 + 1.5 + 3 + 4.5) / 4
    assert float(found["Hopper-v5", "low <&> plain", "area under curve"]["value"]) == 2.25
    assert float(found["all tasks", "high", "mean"]["value"]) == pytest.approx((1.3 + 0.13) / 2)
    assert float(found["all tasks", "high", "interquartile mean"]["value"]) == pytest.approx(
        (0.14 + 0.16 + 1.0 + 1.2) / 4
    )
    better = found["all tasks", "high", "probability of improvement"]
    assert [float(better[name]) for name in ("value", "low", "high")] == [1, 1, 1]


def test_variants_are_compared_on_common_seeds_which_the_page_lists():
    made()
    for seed in (0, 1):
        (OUT / f"runs/high/Hopper-v5/seed{seed}/fake/World/run/metrics.csv").unlink()
    (OUT / "runs/low-plain/Hopper-v5/seed3/fake/World/run/metrics.csv").unlink()
    text = WellFormed(made(COMPARISON, "--draw_only")).text
    assert (
        "On Hopper-v5 not all variants have the same seeds (low <&> plain: 0, 1, 2; high: 2, 3): two variants are "
        "compared "
        "on the seeds that both have." in text
    )
    assert "On Pendulum-v1 not all" not in text
    pairs = {(row["task"], row["variant"], row["against"]): row for row in table("statistics.csv") if row["against"]}
    one = pairs["Hopper-v5", "low <&> plain", "high"]
    assert (one["statistic"], one["runs"], float(one["value"])) == (
        "mean difference",
        "1",
        -10,
    )  # 2 * seed each, and 10
    full = pairs["Pendulum-v1", "low <&> plain", "high"]
    assert [float(full[name]) for name in ("runs", "value", "low", "high")] == [4, -10, -10, -10]
    assert "mean difference: row − column" in text
    assert pairs["all tasks", "high", "low <&> plain"]["runs"] == "1"


def test_variants_without_a_seed_in_common_are_not_compared():
    made()
    for variant, seeds in (("high", (0, 1)), ("low-plain", (2, 3))):
        for seed in seeds:
            (OUT / f"runs/{variant}/Hopper-v5/seed{seed}/fake/World/run/metrics.csv").unlink()
    made(COMPARISON, "--draw_only")
    assert {row["task"] for row in table("statistics.csv") if row["against"]} == {"Pendulum-v1"}


def test_without_a_stated_pair_the_lowest_and_highest_run_are_zero_and_one():
    text = made()
    found = {(row["task"], row["variant"], row["statistic"]): row for row in table("statistics.csv")}
    assert float(found["all tasks", "high", "mean"]["value"]) == pytest.approx(13 / 16)
    assert "Pendulum-v1: 0, 16; Hopper-v5: 0, 16" in WellFormed(text).text


def test_unfinished_runs_are_compared_up_to_their_last_common_step():
    made()
    rows = OUT / "runs/high/Hopper-v5/seed0/fake/World/run/metrics.csv"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:3]))  # up to 20 steps
    (rows.parents[3] / "finished").unlink()
    before = {path: path.read_bytes() for path in (OUT / "runs").rglob("*") if path.is_file()}
    text = WellFormed(made(COMPARISON, "--draw_only")).text
    assert "1 of 16 runs are not finished" in text
    assert "Hopper-v5: 20" in text
    assert "Pendulum-v1: 40" in text
    found = {(row["task"], row["variant"], row["statistic"]): row for row in table("statistics.csv")}
    assert float(found["Hopper-v5", "high", "mean"]["value"]) == 11.5
    assert {path: path.read_bytes() for path in (OUT / "runs").rglob("*") if path.is_file()} == before


def test_one_task_has_no_aggregate_and_one_seed_no_interval():
    text = made("variants: {a: [value_sac/pendulum], b: [value_sac/pendulum, --model.bonus=1]}\nseeds: [5]")
    assert {row["task"] for row in table("statistics.csv") if not row["against"]} == {"Pendulum-v1"}
    assert "A single run has no interval" in WellFormed(text).text
    assert "nan" not in WellFormed(text).text


def test_the_page_warns_of_few_seeds():
    assert "in 75% of comparisons, not in 95%" in made(COMPARISON.replace(", 3]", "]"))


def test_a_variant_that_failed_on_a_task_is_left_out_of_aggregates():
    broken = COMPARISON.replace(
        "tasks: [Pendulum-v1, Hopper-v5]",
        "  third: [value_sac/pendulum]\ntasks: {one: [--data.env_id=Pendulum-v1], two: [--model.does=fails]}",
    )
    text = WellFormed(made(broken)).text
    assert "No run was evaluated on two" in text
    assert "12 of 24 runs failed" in text


def test_a_missing_metric_is_refused_in_one_sentence():
    with pytest.raises(
        MaxEntError,
        match=r"No run has the metric 'eval/retrn'; use --draw_only with --metric and one of eval/return_mean, ",
    ):
        made(COMPARISON + "metric: eval/retrn")


def test_a_variant_without_the_metric_does_not_change_the_others():
    made()
    for path in (OUT / "runs/high").rglob("metrics.csv"):
        path.write_text(path.read_text().replace("eval/sampled_return_mean", "eval/other"))
    text = WellFormed(made(COMPARISON + "metric: eval/sampled_return_mean", "--draw_only")).text
    assert "high has no score on Pendulum-v1, Hopper-v5" in text
    assert {row["variant"] for row in table("statistics.csv")} == {"low <&> plain"}


def test_a_comparison_without_runs_draws_nothing(capsys):
    Path("comparison.yaml").write_text(COMPARISON)
    assert compare(["comparison.yaml", "--out=out", "--draw_only"]) == 0
    assert "nothing to draw" in capsys.readouterr().out


def test_a_dark_page_has_light_text_and_its_pictures_stay_on_white():
    dark = re.search(r"@media \(prefers-color-scheme: dark\) { :root {(.*?)} }", STYLE)
    assert dark
    dark_colors, used = (
        set(re.findall(pattern, text)) for pattern, text in ((r"--(\w+): #", dark[1]), (r"var\(--(\w+)\)", STYLE))
    )
    assert dark_colors == used
    assert re.search(r"\.pictures img {[^}]*background: #fff", STYLE)


def test_no_two_of_many_variants_look_the_same():
    styles = style_of([f"variant {index}" for index in range(28)])
    assert len(set(styles.values())) == 28


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "12,346"), (-1000.0, "-1,000"), (0.123456, "0.1235"), (float("nan"), "–"), (3.0, "3")]
)
def test_numbers_are_printed_with_significant_digits(value, text):
    assert number(value) == text
