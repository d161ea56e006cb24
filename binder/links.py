"""Links that open the course elsewhere: `python binder/links.py https://github.com/OWNER/REPO`.

Prints badges for Binder and Colab, and with `--hub` an nbgitpuller link, as Markdown. `--write`
puts them between the marks in the README.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from urllib.parse import quote, urlencode

README = Path(__file__).parents[1] / "README.md"
MARKS = ("<!-- links -->", "<!-- end of links -->")
FIRST = "lessons/00_welcome.ipynb"
WORKBOOK = "lab/tree/workbook/00_welcome.ipynb"


def repository(address: str) -> tuple[str, str, str]:
    """Host, owner (with GitLab's groups) and name of a repository; ValueError if it has no form."""
    plain = re.sub(r"(\.git)?/*$", "", address.strip())
    found = re.fullmatch(r"(?:https?://|ssh://)?(?:\w+@)?([\w.-]+\.\w+)[/:](.+)/([\w.-]+)", plain)
    if not found:
        raise ValueError(
            f"{address!r} is not a repository's address: it should look like "
            "https://github.com/OWNER/REPO or git@github.com:OWNER/REPO.git."
        )
    return found[1], found[2], found[3]


def binder(address: str, branch: str) -> str:
    """Where mybinder.org starts the course, on the workbook's first lesson."""
    host, owner, name = repository(address)
    if host == "github.com":
        where = f"gh/{owner}/{name}"
    elif host == "gitlab.com":
        where = f"gl/{quote(f'{owner}/{name}', safe='')}"
    else:
        where = f"git/{quote(f'https://{host}/{owner}/{name}', safe='')}"
    query = urlencode({"urlpath": WORKBOOK})
    return f"https://mybinder.org/v2/{where}/{quote(branch, safe='')}?{query}"


def colab(address: str, branch: str) -> str | None:
    """Where Colab opens the first lesson; None for a host that Colab does not read."""
    host, owner, name = repository(address)
    if host != "github.com":
        return None
    return f"https://colab.research.google.com/github/{owner}/{name}/blob/{quote(branch)}/{FIRST}"


def nbgitpuller(address: str, branch: str, hub: str) -> str:
    """A link that copies the course into the reader's home on `hub`, or updates it there."""
    host, owner, name = repository(address)
    query = {
        "repo": f"https://{host}/{owner}/{name}",
        "branch": branch,
        "urlpath": f"lab/tree/{name}/{FIRST}",
    }
    return f"{hub.rstrip('/')}/hub/user-redirect/git-pull?{urlencode(query)}"


def markdown(address: str, branch: str = "main", hub: str | None = None) -> str:
    """The badges, one a line."""
    badge = "[![{name}]({picture})]({link})"
    shield = "https://img.shields.io/badge/{0}-{1}-1976d2"
    lines = [
        badge.format(
            name="Open in Binder",
            picture="https://mybinder.org/badge_logo.svg",
            link=binder(address, branch),
        )
    ]
    if link := colab(address, branch):
        picture = "https://colab.research.google.com/assets/colab-badge.svg"
        lines.append(badge.format(name="Open in Colab", picture=picture, link=link))
    if hub:
        picture, link = shield.format("JupyterHub", "open"), nbgitpuller(address, branch, hub)
        lines.append(badge.format(name="Open on our JupyterHub", picture=picture, link=link))
    return "\n".join(lines)


def write(text: str, readme: Path = README) -> None:
    """Put `text` between the README's marks; ValueError if they are not there, once, in order."""
    before, first, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
    _, last, after = rest.partition(MARKS[1])
    if not first or not last:
        raise ValueError(f"{readme.name} needs the lines {MARKS[0]} and {MARKS[1]}, in this order.")
    readme.write_text(f"{before}{first}\n{text}\n{last}{after}", encoding="utf-8")


def main() -> None:
    """Print the links; with --write, put them into the README too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="https://github.com/OWNER/REPO")
    parser.add_argument("--branch", default="main")
    parser.add_argument("--hub", help="address of a JupyterHub with nbgitpuller")
    parser.add_argument("--write", action="store_true", help="put the badges into the README")
    given = parser.parse_args()
    try:
        text = markdown(given.address, given.branch, given.hub)
        print(text)
        if given.write:
            write(text)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
