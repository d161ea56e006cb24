"""Make the README's picture: `make picture` exports an Explorer and photographs it in Chromium."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import camwidgets as cw
from camwidgets.course import CLASS_NAMES, load_crops, trained

HERE = Path(__file__).parent
CROPS = [105, 212, 318, 401, 17]


def main() -> None:
    """Write explorer.png beside this file."""
    test = load_crops("test")
    explorer = cw.Explorer(
        trained("gap"), test.images[CROPS], CLASS_NAMES, masks=list(test.masks[CROPS])
    )
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = explorer.to_html(Path(folder) / "explorer.html")
        browser = playwright.chromium.launch(
            executable_path=browser_path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 800, "height": 640}, device_scale_factor=2)
        page.goto(page_file.as_uri())
        page.wait_for_selector('.cw-explorer[data-state="ready"]')
        page.locator(".cw-explorer").screenshot(path=HERE / "explorer.png")
        browser.close()


if __name__ == "__main__":
    main()
