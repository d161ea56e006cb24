"""The verdict card: one page, one file, and what is open stays visible."""

from __future__ import annotations

import html.parser
from pathlib import Path

import numpy as np
import pytest

import camwidgets as cw
from camwidgets.course import VerdictCard
from camwidgets.course.card import PARTS

TEXTS = {name: f"What {name} says <i>& more</i>." for name in PARTS}


def picture(alt: str = "A diagonal of four bright squares.") -> object:
    return cw.heat_row(np.zeros((8, 8, 3), np.uint8), [np.eye(4)], ["eye"], alt=alt)


class Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.words += data


def test_one_file_holds_everything(tmp_path: Path) -> None:
    card = VerdictCard(
        "Rocket & sky", verdict="does not hold", author="A. Doubter",
        **TEXTS | {"map": (TEXTS["map"], picture())},
    )  # fmt: skip
    assert card.open == ()
    path = card.to_html(tmp_path / "card.html")
    assert [p.name for p in tmp_path.iterdir()] == ["card.html"]
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tags[0] == ("html", {"lang": "en"})
    for text in ("Rocket & sky", "The claim does not hold.", "A. Doubter", *TEXTS.values()):
        assert text in page.words
    order = [page.words.index(text) for text in TEXTS.values()]
    assert order == sorted(order)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == ["A diagonal of four bright squares."]
    assert images[0]["src"].startswith("data:image/png;base64,")
    assert not [a for _, a in page.tags if "href" in a or a.get("src", "data:")[:5] != "data:"]
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert [tag for tag, _ in page.tags].count("h2") == len(PARTS)


@pytest.mark.parametrize("nothing", ["", "  ", "…", ..., "..."])
def test_what_is_open_is_marked_as_open(tmp_path: Path, nothing: object) -> None:
    card = VerdictCard("A claim", **TEXTS | {"limits": nothing, "map": (nothing, picture())})
    assert card.open == ("map", "limits")
    page = Page(card.to_html(tmp_path / "card.html").read_text(encoding="utf-8"))
    assert page.words.count("Open.") == 2
    assert "The claim is undecided." in page.words


def test_it_shows_itself() -> None:
    card = VerdictCard("A claim", verdict="holds", claim="Cats have ears.")
    assert "Cats have ears." in Page(card._repr_html_()).words
    assert repr(card).splitlines()[:2] == ["A claim: the claim holds", "Claim: Cats have ears."]


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="'holds', 'does not hold' or 'undecided', not 'yes'"):
        VerdictCard("A claim", verdict="yes")
    for part in (3, ("text", "no picture"), ("text", picture(), "more")):
        with pytest.raises(TypeError, match="map must be text"):
            VerdictCard("A claim", map=part)
