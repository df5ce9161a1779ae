"""The pages in a real Chromium: no errors, nothing sideways, all controls by keyboard, readable colours."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from farm.backlog import Backlog
from farm.dashboard.access import make_access
from farm.dashboard.app import make_app
from farm.dashboard.farm_view import Farm
from farm.job import Job
from farm.result import Result
from farm.settings import Settings
from tests.conftest import missing

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PAGES = (
    "/",
    "/materials",
    "/materials/BN-hexagonal",
    "/materials/agm000999002",
    "/jobs",
    "/failures",
    "/model",
)

# The smallest contrast of a text to what lies behind it, by WCAG 2.1, and which text it is.
CONTRAST = """() => {
  const light = ([r, g, b]) => {
    const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [x, y, z] = [r, g, b].map((v) => linear(v / 255));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const rgba = (text) => {
    const n = text.match(/[\\d.]+/g).map(Number);
    return n.length < 4 ? [...n, 1] : n;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return rgba(getComputedStyle(document.body).backgroundColor);
  };
  let worst = [99, ""];
  for (const e of document.querySelectorAll("main *, header *, nav *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const style = getComputedStyle(e);
    if (!own || e.closest("svg") || style.visibility === "hidden" || !e.getClientRects().length) continue;
    if (e.matches(":disabled")) continue;
    const [a, b] = [light(rgba(style.color)), light(behind(e))].sort((p, q) => q - p);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.textContent.trim().slice(0, 40)];
  }
  return worst;
}"""

# Headings that skip a level, pictures without words, fields without a label, ids that are there twice.
OUTLINE = """() => {
  const found = [];
  const levels = [...document.querySelectorAll("h1,h2,h3,h4")].map((h) => Number(h.tagName[1]));
  levels.forEach((level, i) => { if (level > (levels[i - 1] ?? 0) + 1) found.push("heading " + level); });
  for (const e of document.querySelectorAll("main svg, img, canvas"))
    if (!e.getAttribute("aria-label") && !e.getAttribute("aria-labelledby") && !e.querySelector("title")
        && !e.alt && !e.closest("[aria-hidden=true]"))
      found.push("unnamed " + e.tagName);
  for (const e of document.querySelectorAll("main input:not([type=hidden]), main select"))
    if (!e.labels?.length && !e.getAttribute("aria-label")) found.push("unlabelled " + e.name);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  found.push(...ids.filter((id, i) => ids.indexOf(id) !== i).map((id) => "twice " + id));
  return found;
}"""


@pytest.fixture
def address(
    settings: Settings, backlog: Backlog, stored: object, make_job: Callable[..., Job]
) -> Iterator[str]:
    """A real server of a farm with a few jobs."""
    assert stored
    backlog.enqueue([make_job("waits-1", 10.0), make_job("waits-2", 20.0)])
    app = make_app(Farm(settings, backlog), make_access("127.0.0.1"))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        missing("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


def opened(chromium: Any, width: int, scheme: str, **options: Any) -> tuple[Any, list[str]]:
    """A tab, and what went wrong in it."""
    height = 900 if width > 600 else 740
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, **options
    )
    page, wrong = context.new_page(), list[str]()

    def failed(request: Any) -> None:
        # What a page that is left no longer waits for has not failed.
        if request.failure != "net::ERR_ABORTED":
            wrong.append(f"failed: {request.url}, {request.failure}")

    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", failed)
    page.on(
        "request", lambda request: wrong.append(request.url) if "127.0.0.1" not in request.url else None
    )
    return page, wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_readable_on_a_desk_and_a_phone(chromium: Any, address: str, scheme: str) -> None:
    for width in (1280, 360):
        page, wrong = opened(chromium, width, scheme)
        for path in PAGES:
            assert page.goto(address + path).status == 200
            sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(sideways) <= 0, (path, width)
            ratio, text = page.evaluate(CONTRAST)
            assert ratio >= 4.5, (path, scheme, ratio, text)
            assert page.evaluate(OUTLINE) == [], path
        assert wrong == []
        page.context.close()


def test_every_control_is_reached_by_tab_and_seen(chromium: Any, address: str) -> None:
    page, _ = opened(chromium, 1280, "light")
    for path in ("/", "/materials", "/materials/BN-hexagonal"):
        page.goto(address + path)
        page.wait_for_timeout(200)
        n = page.evaluate(
            "[...document.querySelectorAll('a[href], button:enabled, input:enabled:not([type=hidden]), "
            'select:enabled, summary, [tabindex="0"]\')].filter((e) => e.checkVisibility()).length'
        )
        reached = set[str]()
        for _ in range(n + 5):
            page.keyboard.press("Tab")
            told = page.evaluate(
                "() => { const e = document.activeElement, s = getComputedStyle(e);"
                " window.k ??= new Map(); if (!window.k.has(e)) window.k.set(e, String(window.k.size));"
                " return [window.k.get(e), e.tagName, s.outlineStyle, s.boxShadow]; }"
            )
            if told[1] == "BODY":
                continue
            assert told[2] != "none" or told[3] != "none", (path, told)
            reached.add(told[0])
        assert len(reached) >= n, (path, len(reached), n)
    page.context.close()


def test_the_structure_is_drawn_and_turns(chromium: Any, address: str) -> None:
    page, wrong = opened(chromium, 1280, "light")
    page.goto(address + "/materials/BN-hexagonal")
    canvas = page.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    before = canvas.screenshot()
    opaque = """(c) => { const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
      let n = 0; for (let i = 3; i < data.length; i += 4) n += data[i] > 0; return 4 * n / data.length; }"""
    assert canvas.evaluate(opaque) > 0.02
    canvas.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(300)
    assert canvas.screenshot() != before
    assert wrong == []
    page.context.close()


def test_a_spectrum_tells_its_values(chromium: Any, address: str, stored: list[Result]) -> None:
    from playwright.sync_api import expect

    page, wrong = opened(chromium, 1280, "light")
    page.goto(address + "/materials/BN-hexagonal")
    result = next(each for each in stored if each.crystal.material_id == "BN-hexagonal")
    slider, shown = page.locator("#energy"), page.locator("#energy-shown")
    slider.wait_for()
    slider.focus()
    # By keyboard: a step is one point of the grid.
    at = int(slider.input_value()) + 5
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert shown.inner_text() == f"{result.energies_ev[at]:.2f} eV"
    ipa, rpa = (step.eps[0].imag[at] for step in result.ladder)
    words = page.locator("figure[data-panel] .readout").first.inner_text()
    assert [float(word) for word in words.split()[1::3]] == pytest.approx([ipa, rpa], rel=1e-3)
    assert f"IPA {words.split()[1]}" in slider.get_attribute("aria-valuetext")
    # By pointer: the middle of the frame is the middle of the energies.
    svg = page.locator("figure[data-panel] svg").first
    left, right = (float(svg.get_attribute(f"data-{side}")) for side in ("left", "right"))
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    page.mouse.move(box["x"] + box["width"] * (left + right) / 2 / 440, box["y"] + box["height"] / 2)
    expect(shown).to_have_text(re.compile(r"(9\.9|10\.0)\d eV"))
    assert wrong == []
    page.context.close()


def test_another_quantity_comes_without_a_new_page(chromium: Any, address: str) -> None:
    from playwright.sync_api import expect

    page, wrong = opened(chromium, 1280, "light")
    page.goto(address + "/materials/BN-hexagonal")
    page.evaluate("window.same = true")
    page.select_option("#quantity", "reflectivity")
    page.wait_for_selector("text=R along x, y, z")
    expect(page.locator("#energy-shown")).to_have_text(re.compile("eV"))
    assert page.evaluate("window.same")
    assert "quantity=reflectivity" in page.url
    assert wrong == []
    page.context.close()


def test_without_scripts_everything_is_there(chromium: Any, address: str) -> None:
    page, wrong = opened(chromium, 1280, "light", java_script_enabled=False)
    page.goto(address + "/materials/BN-hexagonal")
    assert page.locator("main svg").count() >= 2
    page.goto(address + "/materials")
    assert page.locator("tbody tr").count() == 8
    page.get_by_role("link", name="Jobs").first.click()
    assert "waits-1" in page.locator("main").inner_text()
    assert wrong == []
    page.context.close()
