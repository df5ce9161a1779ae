"""The map of the page in a real browser, where there is one: it does what its keys and clicks say."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from farm.spectrum import energy_grid_ev
from trainer.report import atlas
from trainer.report.contents import Contents, Materials
from trainer.report.page import make_report, render

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FORMULAS = ("MgO", "CaO", "MgF2", "NaCl", "LiF", "Si", "C", "BN")

# Runs last in the page, and leaves what it saw in an element.
PROBE = """<script>
const seen = { errors: [] };
addEventListener("error", (event) => seen.errors.push(event.message));
const at = (id) => document.getElementById(id);
const title = () => document.querySelector("#map-detail h3")?.textContent;
const press = (name) => new KeyboardEvent("keydown", { key: name, cancelable: true });
const key = (target, name) => { target.dispatchEvent(press(name)); return title(); };
(() => {
  const canvas = at("map-canvas");
  const find = at("map-find");
  seen.first = title();
  seen.hidden = [at("map").hidden, getComputedStyle(at("map-static")).display];
  find.value = "Mg";
  find.dispatchEvent(new Event("input"));
  seen.found = at("map-found").textContent;
  seen.entered = [0, 1, 2].map(() => key(find, "Enter"));
  find.value = "";
  find.dispatchEvent(new Event("input"));
  seen.stepped = ["ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"].map((name) => key(canvas, name));
  const colour = at("map-colour");
  seen.colours = [...colour.options].map((option) => {
    colour.value = option.value;
    colour.dispatchEvent(new Event("change"));
    return [option.text, at("map-legend").textContent.length > 0];
  });
  const box = canvas.getBoundingClientRect();
  const place = { clientX: box.left + 50, clientY: box.top + 50 };
  const wheel = () => new WheelEvent("wheel", { ...place, deltaY: -300, cancelable: true });
  canvas.blur();
  seen.wheel_passes = canvas.dispatchEvent(wheel());
  canvas.focus();
  seen.wheel_taken = !canvas.dispatchEvent(wheel());
  seen.touch = canvas.style.touchAction;
  at("map-home").click();
  seen.touch_home = canvas.style.touchAction;
  seen.paths = document.querySelectorAll("#map-detail svg path[fill='none']").length;
  const pre = document.createElement("pre");
  pre.id = "seen";
  pre.textContent = JSON.stringify(seen);
  document.body.append(pre);
})();
</script></body>"""


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no browser: one of " + ", ".join(BROWSERS))
    return found


def page_of(*, predicted: bool) -> str:
    energies_ev = energy_grid_ev(41)
    rpa = np.array([np.exp(-((energies_ev - 5 - i) ** 2)) for i in range(8)], dtype=np.float32)
    materials = Materials(
        ids=tuple(f"m-{i}" for i in range(8)),
        formulas=FORMULAS,
        n_atoms=np.array([2, 2, 3, 2, 2, 2, 2, 2]),
        groups=np.array([0, 1, 0, 1, 0, 2, 0, 0]),
        energies_ev=energies_ev,
        ipa=1.1 * rpa,
        rpa=rpa,
        sc_ipa=np.linspace(0.5, 0.9, 8),
        gap_ev=(None, 3.0, None, 5.0, None, None, None, None) if predicted else (None,) * 8,
        predicted=0.9 * rpa if predicted else None,
        sc=np.linspace(0.6, 0.9, 8) if predicted else None,
        pooled=np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32),
        n_in_store=8,
    )
    return render(make_report(Contents(materials=materials)))


@pytest.mark.parametrize("predicted", [True, False])
def test_the_map_answers(browser, tmp_path, predicted, monkeypatch):
    monkeypatch.setattr(atlas.importlib.util, "find_spec", lambda _: None)
    path = tmp_path / "page.html"
    path.write_text(page_of(predicted=predicted).replace("</body>", PROBE), encoding="utf-8")
    command = [
        browser,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'b'}",
    ]
    dump = ["--window-size=1200,900", "--virtual-time-budget=4000", "--dump-dom", path.as_uri()]
    done = subprocess.run([*command, *dump], capture_output=True, text=True, timeout=120, check=True)
    text = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert text, done.stderr[-500:]
    seen = json.loads(html.unescape(text[1]))
    assert seen["errors"] == []
    assert seen["hidden"] == [False, "none"]
    # The median of the held-out materials, CaO and NaCl, is there from the start.
    assert seen["first"] == "CaO"
    assert seen["found"] == "2 of 8"
    assert set(seen["entered"]) == {"MgO", "MgF2"}
    assert len(set(seen["stepped"])) > 1
    titles = [title for title, _ in seen["colours"]]
    assert all(shown for _, shown in seen["colours"])
    assert ("SC of the model" in titles) == ("direct gap (eV)" in titles) == predicted
    # A page that scrolls by is not caught; a map that was chosen zooms, and then a finger moves it.
    assert (seen["wheel_passes"], seen["wheel_taken"]) == (True, True)
    assert (seen["touch"], seen["touch_home"]) == ("none", "pan-y")
    assert seen["paths"] == (2 if predicted else 1)
