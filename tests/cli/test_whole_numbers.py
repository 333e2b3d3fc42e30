import pytest
from jsonargparse import ArgumentParser

from lightning_maxent.cli.whole_numbers import accept_whole_numbers, whole_number


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2e2", 200),
        ("1E+4", 10_000),
        ("32.0", 32),
        ("1.5e1", 15),
        ("-1e1", -10),
        ("9007199254740993", 9007199254740993),
        ("1e23", 10**23),
        (32.0, 32),
        (1.5, 1.5),
        ("1.5", "1.5"),
        ("1e-2", "1e-2"),
        (float("inf"), float("inf")),
        ("many", "many"),
        (True, True),
        (None, None),
    ],
)
def test_whole_numbers_are_parsed_in_every_notation(written, meant):
    read = whole_number(written)
    assert read == meant
    assert type(read) is type(meant)


def test_options_of_either_integer_or_float_keep_the_type():
    accept_whole_numbers()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--count", type=int | None)
    parser.add_argument("--share", type=int | float)
    parser.add_argument("--widths", type=list[int])
    parser.add_argument("--text", type=str | int)
    args = parser.parse_args(["--count=1e1", "--share=1.0", "--widths=[2e0, 3.0]", "--text=1e1"])
    assert (args.count, args.share, args.widths, args.text) == (10, 1.0, [2, 3], "1e1")
    assert type(args.share) is float
    assert type(parser.parse_args(["--share=1"]).share) is int
