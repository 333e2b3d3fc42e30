"""Every mutant breaks one place that is there, and has tests that stand for it."""

from pathlib import Path

import mutants
import pytest


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_the_code_that_a_mutant_replaces_occurs_once(mutant):
    source = (Path(mutants.ROOT) / "lightning_maxent" / mutant.file).read_text()
    assert source.count(mutant.old) == 1
    assert mutant.new != mutant.old
    assert all((Path(mutants.ROOT) / test.partition("::")[0]).is_file() for test in mutants.tests_of(mutant.file))
