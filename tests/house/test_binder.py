"""What repo2docker makes of binder/, and the links that open the course elsewhere."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

ROOT = Path(__file__).parents[2]

_spec = importlib.util.spec_from_file_location("links", ROOT / "binder" / "links.py")
links = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(links)


@pytest.fixture(scope="module")
def dockerfile() -> list[str]:
    """The steps that repo2docker would build, as on mybinder.org; no Docker engine is needed."""
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "--user-id=1000"]
    made = subprocess.run(
        [*command, "--user-name=jovyan", str(ROOT)], capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    assert "conda environment for python=3.11" in made.stdout + made.stderr
    return [line.strip() for line in (made.stdout + made.stderr).splitlines()]


def at(dockerfile: list[str], *parts: str) -> int:
    """Number of the one step that holds all of the parts."""
    (found,) = (k for k, step in enumerate(dockerfile) if all(part in step for part in parts))
    return found


def test_image_installs_binders_requirements_then_the_course_then_starts(dockerfile):
    order = [
        at(dockerfile, "COPY --chown=1000:1000 src/ "),  # -r ../requirements.txt must be there
        at(dockerfile, "RUN", "pip install --no-cache-dir", '-r "binder/requirements.txt"'),
        at(dockerfile, "RUN ./binder/postBuild"),
        at(dockerfile, "ENV R2D_ENTRYPOINT=", "/binder/start"),
        at(dockerfile, "ENTRYPOINT ["),
    ]
    assert order == sorted(order)


def test_image_runs_as_a_person_and_takes_nothing_else(dockerfile):
    users = [step for step in dockerfile if step.startswith("USER ")]
    assert users[-1] == "USER ${NB_USER}"
    text = "\n".join(dockerfile)
    assert "environment.yml" not in text.replace("/tmp/env/environment", "")
    assert text.count("requirements.txt") == 3  # binder's: copied, and installed by one pip


@pytest.mark.parametrize("script", ["start", "postBuild"])
def test_scripts_are_bash(script):
    subprocess.run(["bash", "-n", ROOT / "binder" / script], check=True)


def start(tmp_path: Path, python: str) -> subprocess.CompletedProcess:
    """binder/start with a stand-in for python."""
    (tmp_path / "python").write_text(f"#!/bin/bash\n{python}\n")
    (tmp_path / "python").chmod(0o755)
    return subprocess.run(
        [ROOT / "binder" / "start", "bash", "-c", 'echo "server: $OMP_NUM_THREADS $1"', "x", "a b"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )


def test_start_makes_the_workbook_in_the_home_and_becomes_the_server(tmp_path):
    answer = start(tmp_path, 'echo "$@"')
    made, server = answer.stdout.splitlines()
    assert made == f"-m camwidgets.course.workbook --folder {tmp_path}/workbook"
    assert server == "server: 1 a b"
    assert answer.returncode == 0


def test_server_starts_where_no_workbook_can_be_made(tmp_path):
    answer = start(tmp_path, "exit 1")
    assert answer.stdout == "server: 1 a b\n"
    assert "No workbook" in answer.stderr


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/ada/cams",
        "https://github.com/ada/cams.git",
        "https://github.com/ada/cams/",
        "git@github.com:ada/cams.git",
        "ssh://git@github.com/ada/cams",
        "github.com/ada/cams",
    ],
)
def test_links_of_every_form_of_address(address):
    assert links.repository(address) == ("github.com", "ada", "cams")
    binder = urlsplit(links.binder(address, "main"))
    assert binder.path == "/v2/gh/ada/cams/main"
    assert parse_qs(binder.query) == {"urlpath": ["lab/tree/workbook/00_welcome.ipynb"]}
    assert links.colab(address, "main").endswith("/ada/cams/blob/main/lessons/00_welcome.ipynb")


def test_links_beyond_github():
    gitlab = "https://gitlab.com/uni/group/cams"
    assert "/v2/gl/uni%2Fgroup%2Fcams/main?" in links.binder(gitlab, "main")
    own = "https://git.example.org/uni/cams"
    assert "/v2/git/https%3A%2F%2Fgit.example.org%2Funi%2Fcams/v1%2Fx?" in links.binder(own, "v1/x")
    assert links.colab(gitlab, "main") is None
    assert "Colab" not in links.markdown(gitlab)


def test_hub_link_pulls_the_repository_and_opens_the_first_lesson():
    link = urlsplit(links.nbgitpuller("git@github.com:ada/cams.git", "main", "https://hub.org/x/"))
    assert (link.netloc, link.path) == ("hub.org", "/x/hub/user-redirect/git-pull")
    assert parse_qs(link.query) == {
        "repo": ["https://github.com/ada/cams"],
        "branch": ["main"],
        "urlpath": ["lab/tree/cams/lessons/00_welcome.ipynb"],
    }
    assert (ROOT / links.FIRST).exists()


@pytest.mark.parametrize("address", ["", "cams", "https://github.com/ada", "/home/ada/cams"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValueError, match="should look like https://github"):
        links.repository(address)


def test_badges_are_put_between_the_marks_again_and_again(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{links.MARKS[0]}\n{links.MARKS[1]}\nafter\n")
    for name in ("one", "two"):
        links.write(links.markdown(f"https://github.com/ada/{name}"), readme)
    text = readme.read_text()
    assert "/two/" in text
    assert "/one/" not in text
    assert text.startswith("before\n<!-- links -->\n[![Open in Binder]")
    assert text.endswith(")\n<!-- end of links -->\nafter\n")


def test_a_readme_without_the_marks_is_left_alone(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("text")
    with pytest.raises(ValueError, match="needs the lines"):
        links.write("badges", readme)
    assert readme.read_text() == "text"


def test_readme_has_the_marks():
    assert all(links.README.read_text().count(mark) == 1 for mark in links.MARKS)
