"""A claim says whether it holds, and the figures that a notebook's test leaves alone."""

import configparser
import re
from pathlib import Path

import torch

from camwidgets.course import claim


def test_a_claim_that_holds_is_printed_with_its_figures(capsys):
    claim("more than half are right", torch.tensor(0.986) > 0.5, f"{0.986:.1%}", 0.12345)
    assert capsys.readouterr().out == "✓ more than half are right  · yours: 98.6%, 0.12\n"


def test_a_claim_that_fails_is_told_and_stops_nothing(capsys):
    claim("more than half are right", False, 0.25)
    assert capsys.readouterr().out == ("✗ not so here: more than half are right  · yours: 0.25\n")


def test_a_claim_needs_no_figures(capsys):
    claim("they are equal", True)
    assert capsys.readouterr().out == "✓ they are equal\n"


def test_the_notebooks_test_compares_the_claim_and_not_the_figures(capsys):
    rules = configparser.ConfigParser(interpolation=None)
    rules.read(Path(__file__).parents[1] / "nbval_sanitize.cfg")
    for holds, figure in ((True, 0.986), (True, 0.991), (False, 0.991)):
        claim("more than half are right", holds, figure)
    lines = capsys.readouterr().out
    for rule in rules.values():
        if "regex" in rule:
            lines = re.sub(rule["regex"], rule["replace"], lines)
    one, two, failed = lines.splitlines()
    assert one == two == "✓ more than half are right  · yours"
    assert failed != one
