"""Loading photographs, laying maps over them, and figures that can be read out."""

import html.parser

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from camwidgets.pictures import gallery, heat_grid, heat_row, load_image, overlay

RED, WHITE = [255, 0, 0], [255, 255, 255]


@pytest.fixture
def half_red(tmp_path):
    """30 rows × 40 columns, the left half red, the right half blue."""
    picture = np.zeros((30, 40, 3), np.uint8)
    picture[:, :20, 0] = 255
    picture[:, 20:, 2] = 255
    Image.fromarray(picture).save(tmp_path / "half.png")
    return tmp_path / "half.png", picture


def test_png_comes_back_as_rgb(half_red):
    path, picture = half_red
    loaded = load_image(path)
    assert loaded.dtype == np.uint8
    assert np.array_equal(loaded, picture)


def test_jpeg_comes_back_as_rgb_within_its_losses(half_red, tmp_path):
    _, picture = half_red
    Image.fromarray(picture).save(tmp_path / "half.jpg", quality=95, subsampling=0)
    assert np.abs(load_image(tmp_path / "half.jpg")[:, :15].astype(int) - RED).max() < 10


def test_names_with_other_letters_than_ascii(half_red, tmp_path):
    path = tmp_path / "血液 ó.png"
    path.write_bytes(half_red[0].read_bytes())
    assert load_image(path).shape == (30, 40, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation_is_applied(tmp_path, suffix):
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise before showing
    Image.fromarray(picture).save(tmp_path / f"turned.{suffix}", exif=exif)
    loaded = load_image(tmp_path / f"turned.{suffix}")
    assert loaded.shape == (64, 32, 3)
    assert loaded[:30].min() > 200
    assert loaded[34:].max() < 50


def test_gray_and_sixteen_bit(tmp_path):
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    cv2.imwrite(str(tmp_path / "deep.png"), gray.astype(np.uint16) * 256)
    for name in ("gray.png", "deep.png"):
        assert np.array_equal(load_image(tmp_path / name), np.repeat(gray[..., None], 3, axis=2))


def test_transparent_parts_are_laid_on_white(tmp_path):
    picture = np.zeros((2, 2, 4), np.uint8)
    picture[0, 0] = [255, 0, 0, 255]
    picture[0, 1] = [255, 0, 0, 0]
    picture[1] = [0, 0, 0, 128]
    Image.fromarray(picture).save(tmp_path / "clear.png")
    loaded = load_image(tmp_path / "clear.png")
    assert loaded[0].tolist() == [RED, WHITE]
    assert loaded[1, 0].tolist() == [127, 127, 127]


def test_size_cuts_the_middle_and_stretches_nothing(tmp_path):
    picture = np.zeros((40, 80, 3), np.uint8)
    cv2.circle(picture, (40, 20), 15, WHITE, -1)
    Image.fromarray(picture).save(tmp_path / "wide.png")
    square = load_image(tmp_path / "wide.png", 20)
    assert square.shape == (20, 20, 3)
    bright = square[..., 0] > 127
    assert abs(bright.any(0).sum() - bright.any(1).sum()) <= 1
    assert load_image(tmp_path / "wide.png", (10, 40)).shape == (10, 40, 3)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_said_in_one_sentence(tmp_path, content):
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        load_image(tmp_path / "bad.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_file_cut_short_is_an_error_not_a_gray_area(half_red, tmp_path, suffix):
    whole = tmp_path / f"whole.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole)
    for share in (0.3, 0.6, 0.98):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
        with pytest.raises(ValueError, match="damaged, cut short"):
            load_image(cut)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "gone.png", tmp_path):
        with pytest.raises(ValueError, match=f"no file '.*{path.name}'"):
            load_image(path)


HEAT = np.array([[4.0, 0.0], [2.0, -3.0]])  # shares of the maximum: 1, 0, 1/2, 0


def test_overlay_lets_the_opacity_follow_the_heat():
    image = np.full((2, 2, 3), 100, np.uint8)
    out = overlay(image, HEAT, alpha=0.25, colormap="gray")
    # covers 1/4, 0, 1/8, 0: 0.75 · 100 + 0.25 · 255; 100; 0.875 · 100 + 0.125 · 128; 100
    assert out[..., 0].tolist() == [[139, 100], [104, 100]]
    assert out.dtype == np.uint8


def test_overlay_covers_evenly_when_asked_to():
    image = np.full((2, 2, 3), 100, np.uint8)
    out = overlay(image, HEAT, alpha=0.25, colormap="gray", opacity="constant")
    # 0.75 · 100 + 0.25 · 255 · (1, 0, 0.5, 0); gray's table rounds 0.5 to 128/255
    assert out[..., 0].tolist() == [[139, 75], [107, 75]]


def test_overlay_takes_the_uniform_map_unless_asked_otherwise():
    image = np.random.default_rng(0).integers(0, 255, (2, 2, 3), dtype=np.uint8)
    plain = overlay(image, HEAT)
    assert np.array_equal(plain, overlay(image, HEAT, 0.5, "inferno", opacity="heat"))
    for other in ({"colormap": "jet"}, {"opacity": "constant"}, {"alpha": 0.6}):
        assert not np.array_equal(plain, overlay(image, HEAT, **other))


def test_overlay_upsamples_values_before_it_colours_them():
    image = np.zeros((1, 4, 3), np.uint8)
    out = overlay(image, np.array([[0.0, 1.0]]), 1, "jet", opacity="constant")
    # jet runs from blue over green to red; mixing the end colours would give no green at all
    assert out[0, 1:3, 1].min() > 100


def test_overlay_takes_tensors_and_gray_pictures_and_scales_away_the_maximum():
    image = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    heat = torch.rand(4, 4, requires_grad=True)
    assert np.array_equal(overlay(image, heat), overlay(image, 1e-9 * heat))
    assert overlay(image, heat).shape == (8, 8, 3)
    assert np.array_equal(overlay(image, heat, alpha=0)[..., 1], image)


def test_overlay_of_a_blank_map_is_the_picture_or_the_colour_of_zero_everywhere():
    image = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    for blank in (np.zeros((2, 2)), -np.ones((2, 2))):
        assert np.array_equal(overlay(image, blank, alpha=1), image)
        covered = overlay(image, blank, alpha=1, opacity="constant")
        assert np.array_equal(covered, np.broadcast_to(covered[0, 0], covered.shape))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image": np.zeros((4, 4, 3))}, "uint8"),
        ({"image": np.zeros((4, 4, 4), np.uint8)}, r"\(H, W, 3\)"),
        ({"heat": np.zeros((2, 2, 2))}, "choose one image"),
        ({"heat": np.full((2, 2), np.nan)}, "NaN"),
        ({"alpha": 1.5}, "between 0 and 1"),
        ({"colormap": "jett"}, "'jet'"),
        ({"opacity": "no"}, "'heat' or 'constant'"),
    ],
)
def test_overlay_says_what_does_not_fit(arguments, words):
    fitting = {"image": np.zeros((4, 4, 3), np.uint8), "heat": np.zeros((2, 2))}
    with pytest.raises(ValueError, match=words):
        overlay(**fitting | arguments)


class _Images(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[dict] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.found.append(dict(attributes))


def test_a_picture_speaks_its_alternative_text():
    image = np.zeros((8, 8, 3), np.uint8)
    picture = gallery([image, image], ["a", "b"], alt='Two "black" squares & nothing <else>')
    (tag,) = _Images(picture._repr_html_()).found
    assert tag["alt"] == 'Two "black" squares & nothing <else>'
    assert tag["src"].startswith("data:image/png;base64,")
    assert repr(picture).startswith('Picture: Two "black"')


def test_figures_leave_no_figure_open_in_pyplot():
    import matplotlib.pyplot as plt

    image = np.zeros((8, 8, 3), np.uint8)
    heat_row(image, [np.eye(4)], ["eye"], alt="a diagonal")
    gallery([image], alt="a square")
    assert plt.get_fignums() == []


def test_alternative_text_is_not_optional():
    with pytest.raises(ValueError, match="in words"):
        gallery([np.zeros((8, 8, 3), np.uint8)], alt=" ")


def _decoded(picture):
    return cv2.imdecode(np.frombuffer(picture.png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_maps_of_one_figure_share_one_scale():
    image = np.zeros((32, 32, 3), np.uint8)
    weak, strong = np.full((4, 4), 0.5), np.full((4, 4), 1.0)
    both = _decoded(heat_row(image, [weak, strong], alt="weak and strong", alpha=1))
    alone = _decoded(heat_row(image, [weak, weak], alt="weak twice", alpha=1))
    middle = both.shape[0] // 2
    assert not np.array_equal(both[middle], alone[middle])


def test_a_signed_figure_keeps_the_sign_and_zero_in_the_middle():
    image = np.zeros((32, 32, 3), np.uint8)
    picture = _decoded(
        heat_row(image, [np.full((4, 4), -1.0)], alt="all against", signed=True, alpha=1)
    )
    blue = np.array([5, 48, 97])  # RdBu_r at its lower end
    assert (np.abs(picture.astype(int) - blue).sum(axis=2) < 12).mean() > 0.2


@pytest.mark.parametrize("columns", [1, 4, 8])
def test_figures_fit_a_page_of_900_pixels(columns):
    image = np.zeros((64, 64, 3), np.uint8)
    maps, titles = [np.eye(4)] * columns, [f"map {k}" for k in range(columns)]
    for picture in (
        heat_grid([image] * 2, [maps] * 2, titles, alt="maps of an eye", rows=["one", "two"]),
        gallery([image] * columns, titles, alt="black squares"),
    ):
        assert _decoded(picture).shape[1] <= 900


def test_a_colour_bar_says_what_it_measures(monkeypatch):
    from matplotlib.colorbar import Colorbar

    said = []
    monkeypatch.setattr(
        Colorbar, "set_label", lambda self, label, **_: said.append(label) if label else None
    )
    image = np.zeros((8, 8, 3), np.uint8)
    heat_row(image, [np.eye(4)], alt="a diagonal")
    heat_row(image, [np.eye(4)], alt="a diagonal", signed=True)
    heat_row(image, [np.eye(4)], alt="a diagonal", scale="share of the maximum")
    assert said == ["value of the map", "against (−), for (+)", "share of the maximum"]


def test_heat_grid_wants_as_many_maps_for_each_picture():
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="same number of maps"):
        heat_grid([image, image], [[np.eye(2)], []], alt="no figure")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"titles": ["one"]}, "titles must hold 2"),
        ({"rows": []}, "rows must hold 1"),
        ({"masks": []}, "masks must hold 1"),
        ({"masks": [np.ones((5, 5), bool)]}, r"mask has shape \(5, 5\).*\(8, 8\)"),
    ],
)
def test_heat_grid_says_what_does_not_fit(given, says):
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=says):
        heat_grid([image], [[np.eye(2), np.eye(4)]], alt="no figure", **given)


def test_figures_without_maps_or_with_too_few_titles():
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="heats is empty"):
        heat_row(image, [], alt="no figure")
    with pytest.raises(ValueError, match="titles must hold 3"):
        gallery([image] * 3, ["x"], alt="no figure")
