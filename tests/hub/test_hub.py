"""What a workshop's hub promises, beyond the rehearsal: `make hub-test` runs both."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HUB = Path(__file__).parents[2] / "binder" / "jupyterhub"
PLACEHOLDER = "REPLACE-ME"


def hub(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess:
    """JupyterHub with the example's configuration, which is only shown."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WORKSHOP_")}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "jupyterhub",
            "--config",
            HUB / "jupyterhub_config.py",
            "--show-config",
        ],
        env={**environment, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"WORKSHOP_PASSWORD": "a long enough one"},
        {"WORKSHOP_ADMIN_PASSWORD": "x" * 40},
        {"WORKSHOP_PASSWORD": PLACEHOLDER, "WORKSHOP_ADMIN_PASSWORD": PLACEHOLDER},
    ],
)
def test_hub_refuses_the_examples_passwords(tmp_path, given):
    answer = hub(tmp_path, **given)
    assert answer.returncode != 0
    assert "does not start with the example's passwords" in answer.stderr


def test_hub_takes_real_passwords(tmp_path):
    given = {"WORKSHOP_PASSWORD": "a long enough one", "WORKSHOP_ADMIN_PASSWORD": "x" * 40}
    answer = hub(tmp_path, **given)
    assert answer.returncode == 0, answer.stderr
    assert "mem_limit" in answer.stdout


@pytest.fixture
def values() -> dict:
    return yaml.safe_load((HUB / "values.yaml").read_text())


def started_with(values: dict) -> dict:
    """What Zero to JupyterHub does with the values: traits from `config`, then `extraConfig`."""
    from traitlets.config import Config

    c = Config(values["hub"]["config"])
    for code in values["hub"]["extraConfig"].values():
        exec(code, {"c": c})
    return c


@pytest.mark.parametrize("left", ["user_password", "admin_password"])
@pytest.mark.parametrize("as_", [PLACEHOLDER, "", None])
def test_kubernetes_hub_refuses_the_examples_passwords(values, left, as_):
    given = values["hub"]["config"]["SharedPasswordAuthenticator"]
    assert set(given.values()) == {PLACEHOLDER}
    given.update(user_password="a long enough one", admin_password="x" * 40)
    assert started_with(values)
    given[left] = as_
    with pytest.raises(SystemExit, match=left):
        started_with(values)


def test_both_hubs_give_a_learner_the_same(values, tmp_path):
    given = {"WORKSHOP_PASSWORD": "a long enough one", "WORKSHOP_ADMIN_PASSWORD": "x" * 40}
    shown = hub(tmp_path, **given).stdout
    learner = values["singleuser"]
    for setting, value in {
        "mem_limit": learner["memory"]["limit"],
        "mem_guarantee": learner["memory"]["guarantee"],
        "cpu_limit": float(learner["cpu"]["limit"]),
        "default_url": learner["defaultUrl"],
    }.items():
        assert f".{setting} = {value!r}" in shown
    assert f"--timeout={values['cull']['timeout']}" in shown


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Course", "-c", "user.email=course@example.org"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def course(tmp_path) -> Path:
    """A repository with one lesson, as the course's is laid out."""
    folder = tmp_path / "course"
    (folder / "lessons").mkdir(parents=True)
    (folder / "lessons" / "01.ipynb").write_text('{"a": "first",\n"b": "second"}\n')
    (folder / "lessons" / "02.ipynb").write_text("{}\n")
    (folder / ".gitignore").write_text("workbook/\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "The course")
    return folder


def pull(course: Path, home: Path) -> None:
    from nbgitpuller.pull import GitPuller

    for _ in GitPuller(str(course), str(home), branch="main").pull():
        pass


def test_an_update_keeps_what_a_learner_wrote(course, tmp_path):
    home = tmp_path / "home"
    pull(course, home)
    lesson, other, workbook = (
        home / "lessons" / "01.ipynb",
        home / "lessons" / "02.ipynb",
        home / "workbook",
    )
    workbook.mkdir()
    (workbook / "01.ipynb").write_text("my work")
    lesson.write_text(lesson.read_text().replace("first", "my answer"))
    (home / "lessons" / "notes.md").write_text("my notes")

    (course / "lessons" / "01.ipynb").write_text('{"a": "first, corrected",\n"b": "second"}\n')
    (course / "lessons" / "02.ipynb").write_text('{"c": "new"}\n')
    (course / "lessons" / "03.ipynb").write_text("{}\n")
    git(course, "add", ".")
    git(course, "commit", "-q", "-m", "An update")
    pull(course, home)

    assert "my answer" in lesson.read_text()
    assert other.read_text() == '{"c": "new"}\n'
    assert (home / "lessons" / "03.ipynb").exists()
    assert (home / "lessons" / "notes.md").read_text() == "my notes"
    assert (workbook / "01.ipynb").read_text() == "my work"
