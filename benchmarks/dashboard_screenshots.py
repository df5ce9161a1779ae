"""The figures of docs/dashboard.md: pages of a farm that is being served, in a real Chromium.

farm seed --protocol demo --max-atoms 4
farm up --until-idle &
farm dashboard &
python benchmarks/dashboard_screenshots.py http://127.0.0.1:8080 docs/dashboard
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
# name: path, width, height, scheme, pixels of the screen for one of the page
SHOTS = {
    "overview": ("/", 1280, 820, "light", 1),
    "materials": ("/materials", 1280, 900, "light", 1),
    "material": ("/materials/LiN3", 1280, 1500, "light", 1),
    "material-phone": ("/materials/LiN3", 360, 1100, "dark", 2),
    "jobs": ("/jobs", 1280, 760, "light", 1),
    "model": ("/model", 1280, 1050, "light", 1),
}
_COLOURS = 256


def main(address: str, directory: Path) -> None:
    """Write one PNG a page, and print how large each is."""
    directory.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        for name, (path, width, height, scheme, ratio) in SHOTS.items():
            image = shot(browser, address + path, (width, height), scheme, ratio)
            to = directory / f"{name}.png"
            # A palette: a third of the size, and nobody sees it.
            small = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
            small.save(to, optimize=True)
            print(f"{to}  {to.stat().st_size / 1000:.0f} kB")
        browser.close()


def shot(browser: Browser, address: str, size: tuple[int, int], scheme: str, ratio: int) -> Image.Image:
    """What a window of that size shows of a page."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=ratio
    )
    page = context.new_page()
    page.goto(address, wait_until="networkidle")
    page.wait_for_timeout(500)
    image = Image.open(io.BytesIO(page.screenshot()))
    context.close()
    return image


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), Path(sys.argv[2]))
