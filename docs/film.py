"""The README's moving picture: `make picture` plays the real Explorer in Chromium, with no kernel.

assets/explorer.gif moves the sliders for layer, class and alpha.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import camwidgets as cw
from camwidgets.course import CLASS_NAMES, load_crops, trained

ASSETS = Path(__file__).resolve().parents[1] / "assets"
CROPS = [105, 212, 318, 401, 17]
WIDTH = 640
PLAY = [("layer", "ArrowLeft", 3), ("layer", "ArrowRight", 3), ("class", "ArrowRight", 3)]
PLAY += [("class", "ArrowLeft", 3), ("alpha", "ArrowRight", 6), ("alpha", "ArrowLeft", 6)]


def frame(page: Page) -> Image.Image:
    """What the page shows now, as wide as the README."""
    shot = Image.open(io.BytesIO(page.locator(".cw-explorer").screenshot())).convert("RGB")
    return shot.resize((WIDTH, round(shot.height * WIDTH / shot.width)), Image.LANCZOS)


def main() -> None:
    """Write the film."""
    test = load_crops("test")
    explorer = cw.Explorer(
        trained("gap"), test.images[CROPS], CLASS_NAMES, masks=list(test.masks[CROPS]), target=1
    )
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = explorer.to_html(Path(folder) / "explorer.html")
        browser = playwright.chromium.launch(
            executable_path=browser_path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 800, "height": 700}, device_scale_factor=2)
        page.goto(page_file.as_uri())
        page.wait_for_selector('.cw-explorer[data-state="ready"]')
        ASSETS.mkdir(exist_ok=True)
        frames = [frame(page)]
        for slider, key, times in PLAY:
            for _ in range(times):
                page.get_by_role("slider", name=slider).first.press(key)
                page.wait_for_timeout(200)
                frames.append(frame(page))
        browser.close()
    explorer.close()
    size = min(f.height for f in frames)
    small = [f.crop((0, 0, WIDTH, size)).quantize(96, dither=Image.Dither.NONE) for f in frames]
    small[0].save(
        ASSETS / "explorer.gif", save_all=True, append_images=small[1:], duration=450, loop=0
    )


if __name__ == "__main__":
    main()
