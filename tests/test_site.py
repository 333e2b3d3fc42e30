"""The pages of the site: the reference holds all that is public, and every page is in the table of contents."""

import inspect
import sys
from pathlib import Path

import pytest

import lightning_maxent
from lightning_maxent import exports
from lightning_maxent.cli.configurations import listing, stems

DOCS = Path(__file__).parent.parent / "docs"
pytest.importorskip("sphinx", reason="needs the extra docs")
sys.path.append(str(DOCS / "_ext"))

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
