"""The pages in a real Chromium: no errors, nothing sideways, all controls by keyboard, readable colours."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from farm.backlog import Backlog
from farm.dashboard.access import make_access
from farm.dashboard.app import make_app
from farm.dashboard.farm_view import Farm
from farm.job import Job, JobState
from farm.result import Result
from farm.settings import Settings
from tests.conftest import missing
from tests.dashboard.conftest import OPERATE_TOKEN

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

# Badges of all states on every ground that there is.
EVERY_BADGE = """(states) => {
  const badges = () => states.map((state) => Object.assign(document.createElement("span"),
    { className: "badge badge-" + state, textContent: state }));
  const chosen = Object.assign(document.createElement("a"), { href: "/" });
  chosen.setAttribute("aria-current", "true");
  const results = Object.assign(document.createElement("nav"), { className: "results" });
  results.append(chosen);
  for (const ground of [chosen, document.querySelector("main"), document.querySelector(".panel")])
    ground.append(...badges());
  document.querySelector("main").append(results);
}"""


@pytest.fixture
def address(
    settings: Settings, backlog: Backlog, stored: object, make_job: Callable[..., Job]
) -> Iterator[str]:
    """A real server of a farm with a few jobs."""
    assert stored
    backlog.enqueue([make_job("waits-1", 10.0), make_job("waits-2", 20.0)])
    with served(make_app(Farm(settings, backlog), make_access("127.0.0.1"))) as found:
        yield found


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Its address."""
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
        page.goto(address + "/materials/BN-hexagonal")
        page.evaluate(EVERY_BADGE, [state.value for state in JobState])
        ratio, text = page.evaluate(CONTRAST)
        assert ratio >= 4.5, (scheme, ratio, text)
        page.evaluate("document.querySelector('.beside a').textContent = 'n'.repeat(64)")
        assert page.evaluate(sideways) <= 0, width
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
    turned = canvas.screenshot()
    assert turned != before
    # The button that opens a menu turns nothing, and is not thought to be held after it.
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down(button="right")
    page.mouse.move(box["x"] + 200, box["y"] + 150)
    page.wait_for_timeout(300)
    assert canvas.screenshot() == turned
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


FRAGMENT = "**/fragment/overview"


def overview_kept_open(chromium: Any, address: str, width: int = 1280) -> tuple[Any, list[str], list[str]]:
    """The overview with a clock of our own, what it is answered instead (the last), and what went wrong."""
    page, wrong = opened(chromium, width, "light")
    page.clock.install()
    page.goto(address + "/")
    answers = [page.evaluate("fetch('/fragment/overview').then((answer) => answer.text())")]
    page.route(FRAGMENT, lambda route: route.fulfill(body=answers[-1], content_type="text/html"))
    return page, answers, wrong


def refreshed(page: Any) -> str:
    """What the page says of itself after it asked once more."""
    before = page.evaluate("document.getElementById('freshness').textContent = ''")
    with page.expect_response(FRAGMENT):
        page.clock.run_for(6000)
    page.wait_for_function(
        "(said) => document.getElementById('freshness').textContent !== said", arg=before
    )
    return str(page.locator("#freshness").inner_text())


def test_an_overview_kept_open_shows_what_changes_but_not_under_a_hand(chromium: Any, address: str) -> None:
    page, answers, wrong = overview_kept_open(chromium, address, width=240)
    table = page.locator("#following .scroll")
    table.evaluate("(table) => { table.scrollLeft = 30; }")
    left = table.evaluate("(table) => table.scrollLeft")
    assert left > 0
    # A table that was clicked once is not left as it is for ever, and stays where it was scrolled to.
    table.click(position={"x": 5, "y": 5})
    assert table.evaluate("(table) => document.activeElement === table")
    answers.append(answers[0].replace("waits-1", "waits-3"))
    assert "but for" not in refreshed(page)
    assert "waits-3" in table.inner_text()
    assert table.evaluate("(table) => table.scrollLeft") == left
    # A link that the keyboard is at stays, and the page says so.
    page.locator("#following a").first.focus()
    page.keyboard.press("Tab")
    answers.append(answers[0].replace("waits-1", "waits-4"))
    assert "but for the part in use" in refreshed(page)
    assert "waits-3" in table.inner_text()
    page.evaluate("document.activeElement.blur()")
    assert "but for" not in refreshed(page)
    assert "waits-4" in table.inner_text()
    assert wrong == []
    page.context.close()


def test_an_overview_tells_when_nothing_comes_any_more(chromium: Any, address: str) -> None:
    page, _, wrong = overview_kept_open(chromium, address)
    held: list[Any] = []
    page.route(FRAGMENT, lambda route: held.append(route))
    page.clock.run_for(60_000)
    page.wait_for_selector("text=The dashboard does not answer; last seen")
    assert held
    page.unroute_all()
    assert "kept up to date" in refreshed(page)
    assert wrong == []
    page.context.close()


def test_an_overview_kept_open_tells_of_a_store_that_breaks(
    chromium: Any, address: str, settings: Settings
) -> None:
    page, _, _ = overview_kept_open(chromium, address)
    page.unroute_all()
    broken = settings.home / "broken"
    broken.write_bytes(b"no store" * 1000)
    broken.replace(settings.store_path)
    deadline = time.monotonic() + 30
    while page.locator("text=The store cannot be read").count() == 0:
        assert time.monotonic() < deadline
        refreshed(page)
    page.context.close()


def test_figures_are_of_the_quantity_that_is_chosen(chromium: Any, address: str) -> None:
    from playwright.sync_api import expect

    page, _ = opened(chromium, 1280, "light")
    page.goto(address + "/materials/BN-hexagonal?text=N&sort=formula")
    page.locator("#energy").wait_for()
    title, shown = page.locator("#spectra-figures h3").first, page.locator("#energy-shown")
    page.locator("#energy").fill("1000")
    # An answer that comes when another quantity is chosen already.
    late: list[Any] = []
    page.route("**quantity=reflectivity*", lambda route: late.append(route))
    page.select_option("#quantity", "reflectivity")
    page.select_option("#quantity", "loss")
    expect(title).to_contain_text("Im 1/ε")
    with page.expect_response("**quantity=reflectivity*"):
        late[0].continue_()
    page.wait_for_timeout(200)
    expect(title).to_contain_text("Im 1/ε")
    expect(shown).to_have_text("10.00 eV")
    # One that does not come.
    page.route("**quantity=absorption*", lambda route: route.abort())
    page.select_option("#quantity", "absorption")
    expect(page.locator("#quantity-told")).to_have_text("The dashboard does not answer.")
    expect(page.locator("#quantity")).to_have_value("loss")
    # Loaded again it is the same page, between the same materials.
    assert {"text=N", "sort=formula", "quantity=loss"} <= set(page.url.partition("?")[2].split("&"))
    page.context.close()


def test_on_the_way_back_controls_say_what_is_shown(chromium: Any, address: str) -> None:
    page, wrong = opened(chromium, 1280, "light")
    page.goto(address + "/materials?outcome=done")
    page.select_option("#outcome", "failed")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**outcome=failed**")
    page.go_back()
    assert page.input_value("#outcome") == "done"
    page.goto(address + "/materials/BN-hexagonal")
    page.locator("#structure-repeat").wait_for()
    first = page.is_checked("#structure-repeat")
    page.set_checked("#structure-repeat", not first)
    page.goto(address + "/jobs")
    page.go_back()
    page.locator("#structure-repeat").wait_for()
    assert page.is_checked("#structure-repeat") is first
    assert wrong == []
    page.context.close()


def test_on_the_way_back_no_other_job_is_marked(
    chromium: Any, settings: Settings, backlog: Backlog, make_job: Callable[..., Job]
) -> None:
    jobs = [make_job(f"waits-{number}", 10.0 * number) for number in (1, 2, 3)]
    backlog.enqueue(jobs)
    access = make_access("127.0.0.1", operate_token=OPERATE_TOKEN)
    with served(make_app(Farm(settings, backlog), access)) as address:
        page, wrong = opened(chromium, 1280, "light")
        page.goto(address + "/login")
        page.fill("#token", OPERATE_TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url(address + "/")
        page.goto(address + "/jobs?state=ready")
        page.get_by_label("waits-1").check()
        page.get_by_role("button", name="Cancel them").first.click()
        page.wait_for_url("**/jobs/confirm")
        backlog.prioritise([jobs[2].job_id])
        page.go_back()
        page.get_by_label("waits-3").wait_for()
        assert page.locator("input:checked").count() == 0
        assert wrong == []
        page.context.close()


def test_no_curve_comes_through_the_words_of_the_gaps(chromium: Any, address: str) -> None:
    page, _ = opened(chromium, 1280, "light")
    for quantity in ("eps", "absorption"):
        page.goto(f"{address}/materials/BN-hexagonal?quantity={quantity}")
        words, covered = page.evaluate("""() => {
          const box = (element) => element.getBoundingClientRect();
          const meet = (a, b) => Math.min(a.right, b.right) > Math.max(a.left, b.left) + 1
            && Math.min(a.bottom, b.bottom) > Math.max(a.top, b.top) + 1;
          let words = 0, covered = [];
          for (const figure of document.querySelectorAll(".plots figure")) {
            const top = Math.min(...[...figure.querySelectorAll(".grid path")].map((p) => box(p).top));
            const around = [...figure.querySelectorAll("h3, .label:not(:empty)")];
            for (const gap of figure.querySelectorAll(".mark-text")) {
              words += 1;
              // Below the letters is room that a box counts, too.
              if (box(gap).bottom - 6 > top) covered.push(gap.textContent);
              covered.push(...around.filter((e) => meet(box(e), box(gap))).map((e) => e.textContent));
            }
          }
          return [words, covered]; }""")
        assert words
        assert covered == [], quantity
    page.context.close()


def test_a_long_cell_is_seen_from_end_to_end(chromium: Any, address: str) -> None:
    page, wrong = opened(chromium, 1280, "light")

    def lengthen(route: Any) -> None:
        told = re.sub(
            r'"lattice": ?\[\[.*?\]\]', '"lattice": [[3,0,0],[0,3,0],[0,0,60]]', route.fetch().text()
        )
        route.fulfill(body=told, content_type="text/html")

    page.route("**/materials/BN-hexagonal", lengthen)
    page.goto(address + "/materials/BN-hexagonal")
    page.wait_for_timeout(300)
    painted = """(c) => { const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
      const size = 4 * c.width;
      const rows = Array.from({ length: c.height }, (_, y) => data.subarray(size * y, size * (y + 1)));
      return rows.map((row) => row.some((part, i) => i % 4 === 3 && part > 0)); }"""
    rows = page.locator("#structure").evaluate(painted)
    assert sum(rows) > 0.8 * len(rows)
    assert not any(rows[:2])
    assert not any(rows[-2:])
    assert wrong == []
    page.context.close()


def test_a_printed_page_hides_nothing_beside_it(chromium: Any, address: str) -> None:
    page, _ = opened(chromium, 718, "light")
    for path in ("/materials", "/materials/BN-hexagonal"):
        page.goto(address + path)
        page.emulate_media(media="print")
        ways = "[...document.querySelectorAll('.scroll')].map((e) => getComputedStyle(e).overflowX)"
        assert set(page.evaluate(ways)) == {"visible"}, path
    page.context.close()
