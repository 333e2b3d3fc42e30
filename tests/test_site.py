"""The pages of the site: the reference holds all that is public, and every page is in the table of contents."""

import inspect
import json
import re
import runpy
import sys
from pathlib import Path

import pytest

import lightning_maxent
from lightning_maxent import exports
from lightning_maxent.cli.arguments import COMMANDS, OWN_COMMANDS
from lightning_maxent.cli.configurations import listing, stems

DOCS = Path(__file__).parent.parent / "docs"
pytest.importorskip("sphinx", reason="needs the extra docs")
sys.path.append(str(DOCS / "_ext"))

import benchmarks  # noqa: E402
import equations  # noqa: E402
import nbformat  # noqa: E402
import notebooks  # noqa: E402
import pages  # noqa: E402
import reference  # noqa: E402


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return reference.pages()


def test_every_algorithm_and_every_critic_has_a_page_with_its_configurations(written):
    kinds = {"algorithms": lightning_maxent.AbstractAlgorithm, "critics": lightning_maxent.AbstractCritic}
    for room, kind in kinds.items():
        public = {name: getattr(exports, name) for name in exports.__all__}
        classes = {name for name, each in public.items() if inspect.isclass(each) and issubclass(each, kind)}
        final = {name for name in classes if not inspect.isabstract(public[name])}
        assert {Path(path).stem for path in written if path.startswith(f"{room}/")} == final
    on_algorithms = "".join(text for path, text in written.items() if path.startswith("algorithms/"))
    on_critics = "".join(text for path, text in written.items() if path.startswith("critics/"))
    assert all(f"\n``{stem}``\n---" in on_algorithms for stem in stems("algorithm"))
    assert all(f"\n``critic/{stem}``\n---" in on_critics for stem in stems("critic"))


def test_every_public_name_is_documented_once(written):
    lines = [line for text in written.values() for line in text.splitlines() if line.startswith(".. auto")]
    documented = [line.rpartition(".")[2] for line in lines if not line.startswith(".. automodule")]
    assert sorted(documented) == sorted(exports.__all__)


def test_a_page_has_the_values_of_its_configuration(written):
    sac, redq = written["algorithms/SAC.rst"], written["critics/EnsembleCritic.rst"]
    assert "* - ``target.rate``\n     - ``0.005``" in sac
    assert "* - ``optimizers.default.lr``\n     - ``0.0003``" in sac
    assert "* - ``members``\n     - ``10``" in redq


def test_the_page_of_configurations_has_every_line_of_the_list(written):
    names = [line.split()[0] for line in listing().splitlines() if line.startswith("  ")]
    assert [name for name in names if f"* - ``{name}``" not in written["configurations.rst"]] == []


def test_the_page_of_commands_has_the_options_of_each(written):
    page = written["commands.rst"]
    sections = dict(
        re.findall(r"^``(\w+)``\n-+\n(.*?)(?=^(?:``\w+``|Every option.*)\n-+$)", page, re.MULTILINE | re.DOTALL)
    )
    assert sections.keys() == {*COMMANDS, *OWN_COMMANDS}
    for command, option in {
        "record": "--side_by_side",
        "compare": "--draw_only",
        "verify": "--critic",
        "fit": "--name",
    }.items():
        assert option in sections[command]
    assert "--trainer.accumulate_grad_batches" in page.partition("Every option")[2]


def test_every_page_is_in_the_table_of_contents():
    listed = {(DOCS / "index.md").resolve()}
    for name in pages.LISTS:
        page = DOCS / f"{name}.md"
        trees = pages.contents(page.read_text())
        listed |= {(page.parent / line).resolve() for line in trees.splitlines() if line.endswith(".md")}
    assert {*DOCS.glob("*.md"), *(DOCS / "results").glob("*.md")} == listed


def test_links_to_the_repository_leave_the_site_and_all_others_stay(monkeypatch):
    assert pages.address("../README.md#try-it", DOCS, DOCS) == "repository:README.md#try-it"
    assert pages.address("../../configs", DOCS / "results", DOCS) == "repository:configs"
    for link in ("train.md", "#play", "https://arxiv.org/abs/1801.01290", "results/speed.md#a"):
        assert pages.address(link, DOCS, DOCS) == link
    assert pages.repository(Path("/a/b")) == "file:///a/b"
    for name, value in {"SERVER_URL": "https://github.com", "REPOSITORY": "me/it", "SHA": "1a2b"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    assert pages.repository(Path("/a/b")) == "https://github.com/me/it/blob/1a2b"


PAGE = """# A page

Text with a [link](train.md#a) and

```math
x^2
```

```python
# my_part.py
A = 1
```

```python run
from my_part import A
```

```bash run
lightning-maxent list
```

```bash
lightning-maxent fit my_part
```

```python
# my_part.py
B = 2
```
"""


COMMAND = "lightning-maxent list\n"


@pytest.fixture
def on_github(monkeypatch):
    for name, value in {"SERVER_URL": "https://github.com", "REPOSITORY": "me/it", "SHA": "1a2b"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)


def test_the_site_runs_the_blocks_marked_so_writes_files_and_shows_all_else():
    text = notebooks.for_the_site(PAGE, "a_page")
    cells = re.findall(r"^```\{code-cell\} ipython3\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert cells == [
        ":tags: [remove-cell]\n%%writefile my_part.py\n# my_part.py\nA = 1\n",
        "from my_part import A\n",
        f":tags: [remove-input]\n{notebooks.SHELL.format(commands=COMMAND)}",
        ":tags: [remove-cell]\n%%writefile -a my_part.py\n# my_part.py\nB = 2\n",
    ]
    shown = re.sub(r"^```\{code-cell\}.*?^```$\n", "", text, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^```(\w+)$", shown, re.MULTILINE) == ["math", "python", "bash", "bash", "python"]
    assert text.startswith(notebooks.HEADER)  # without which MyST-NB takes it for a plain page


def test_a_command_of_a_page_shows_no_folder_of_the_machine_and_fails_with_its_message(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(notebooks.SHELL.format(commands='echo "$PWD/runs"\n'), {})
    assert capsys.readouterr().out == "runs\n\n"
    with pytest.raises(AssertionError, match="nonsense"):
        exec(notebooks.SHELL.format(commands="nonsense\ntrue\n"), {})


def test_a_notebook_installs_the_commit_and_stands_alone(on_github):
    made = notebooks.notebook(PAGE, DOCS)
    nbformat.validate(made)
    code = [cell.source for cell in made.cells if cell.cell_type == "code"]
    assert code[0] == "%pip install -q 'lightning-maxent[export,video] @ git+https://github.com/me/it@1a2b'"
    assert code[2:4] == ["from my_part import A", "!lightning-maxent list"]
    (first,) = [cell.source for cell in made.cells if "A page" in cell.source]
    assert "[link](https://github.com/me/it/blob/1a2b/docs/train.md#a)" in first
    assert "$$\nx^2\n$$" in "".join(cell.source for cell in made.cells)
    assert f"/me/it/blob/{notebooks.BRANCH}/a_page.ipynb" in notebooks.links("a_page")


def test_pages_with_code_to_run_are_those_that_run():
    marked = {page.stem for page in DOCS.glob("*.md") if re.search(r"^```\w+ run$", page.read_text(), re.MULTILINE)}
    assert marked == set(notebooks.NOTEBOOKS)


def test_a_curve_is_the_interquartile_mean_where_all_seeds_have_a_value(tmp_path):
    rows = ["variant,task,seed,env_steps,return_mean", "old,A,0,10,1", "old,A,1,10,2", "old,A,2,10,6", "old,A,0,20,9"]
    (tmp_path / "a.csv").write_text("\n".join([*rows, "other,B,0,10,7"]))
    (curve,) = benchmarks.curves(tmp_path, {"csv": "a", "task": "A", "names": {"old": "new"}})
    assert curve == ("new", 3, [10], [2.5], [1.0], [6.0])  # 1/6 1 + 2/3 2 + 1/6 6; of 3 seeds, from least to largest
    with pytest.raises(ValueError, match="has no"):
        benchmarks.curves(tmp_path, {"csv": "a", "names": {"lost": "new"}})


@pytest.mark.skipif(not (DOCS / "results").exists(), reason="a source distribution leaves the results out")
def test_every_chart_has_its_file_page_and_points():
    for given in benchmarks.yaml.safe_load((DOCS / "benchmarks.yaml").read_text()):
        text = benchmarks.chart(DOCS / "results", given)
        points = json.loads(re.findall(r"<script[^>]*>(.*)</script>", text)[0])
        assert all(len(curve["steps"]) == len(curve["mean"]) > 4 for curve in points), given["title"]
        assert (DOCS / "results" / f"{given['page']}.md").exists()


def test_an_equation_is_mathml_and_a_wrong_one_is_a_warning_with_its_line(caplog):
    block, inline = equations.nodes.math_block("", r"\sum_t r_t"), equations.nodes.math("", r"\pi")
    assert re.fullmatch('<math display="block">.*∑.*</math>', equations.mathml(block))
    assert re.fullmatch("<math>.*π.*</math>", equations.mathml(inline))
    wrong = equations.nodes.math("", r"\frac{1}{")
    wrong.source, wrong.line = "a.md", 3
    assert equations.mathml(wrong) == r"<code>\frac{1}{</code>"
    (warning,) = caplog.records
    assert warning.getMessage().startswith("Wrong equation: ")
    assert (warning.location.source, warning.location.line) == ("a.md", 3)


def test_the_check_of_links_finds_pages_files_and_anchors_that_are_missing(tmp_path, monkeypatch, capsys):
    good = '<p id="a"></p><a href="#a"></a><a href="b.html#b"></a><a href="https://x.org/no"></a><img src="p.png">'
    bad = '<a href="#no"></a><a href="index.html#no"></a><a href="no.html"></a><img src="no%20p.png">'
    (tmp_path / "index.html").write_text(good)
    (tmp_path / "b.html").write_text('<a name="b"></a>')
    (tmp_path / "p.png").touch()
    for status in (0, 1):
        monkeypatch.setattr(sys, "argv", ["check_links.py", str(tmp_path)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(DOCS.parent / "scripts" / "check_links.py"), run_name="__main__")
        assert stop.value.code == status
        lines = capsys.readouterr().out.splitlines()
        assert lines[:-1] == [f"c.html: {link}" for link in ("#no", "index.html#no", "no%20p.png", "no.html")] * status
        (tmp_path / "c.html").write_text(bad)
