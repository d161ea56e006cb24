"""One list of versions: what `make` installs, conda, Binder and the package itself must agree."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def pins(path: Path) -> dict[str, set[str]]:
    """Package → versions pinned in a requirements file, following -r; "+cpu" left off."""
    found: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r"):
            for name, versions in pins(path.parent / line[2:].strip()).items():
                found.setdefault(name, set()).update(versions)
        elif line and not line.startswith("--"):
            name, version = re.fullmatch(r"([\w.-]+)==([\w.]+)(?:\+cpu)?(?:;.*)?", line).groups()
            found.setdefault(name.strip(), set()).add(version)
    return found


def test_every_requirement_is_pinned_and_binder_has_the_same():
    assert pins(ROOT / "binder/requirements.txt") == pins(ROOT / "requirements.txt")


def test_binder_takes_cpu_builds_of_pytorch():
    text = (ROOT / "binder/requirements.txt").read_text()
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in text
    for name in ("torch", "torchvision"):
        (version,) = pins(ROOT / "requirements.txt")[name]
        assert f"{name}=={version}+cpu" in text.splitlines()


def test_conda_reads_the_same_list():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda, pip = environment["dependencies"][:-1], environment["dependencies"][-1]["pip"]
    python = (ROOT / "binder/runtime.txt").read_text().strip().replace("python-", "python=")
    assert conda == [python, "pip"]
    assert pip == [
        "--extra-index-url https://download.pytorch.org/whl/cpu",
        "-r requirements.txt",
        "-e .",
    ]


@pytest.mark.parametrize("script", ["postBuild", "start"])
def test_binder_scripts_can_run(script):
    path = ROOT / "binder" / script
    assert path.stat().st_mode & 0o111
    text = path.read_text()
    assert text.startswith("#!/bin/bash\n")
    assert ("set -e" in text) if script == "postBuild" else text.endswith('exec "$@"\n')


def test_pins_satisfy_what_the_package_asks_for():
    from packaging.requirements import Requirement

    project = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)\]", project, re.DOTALL | re.MULTILINE).group(1)
    wanted = [Requirement(text) for text in re.findall(r'"(.+?)"', block)]
    pinned = pins(ROOT / "requirements.txt")
    for requirement in wanted:
        assert pinned[requirement.name], requirement
        assert all(requirement.specifier.contains(v) for v in pinned[requirement.name])


def test_the_howtos_have_the_versions_of_the_tests():
    tests = pins(ROOT / "tests/requirements.txt")
    for name, versions in pins(ROOT / "howto/requirements.txt").items():
        assert tests.get(name, versions) == versions
