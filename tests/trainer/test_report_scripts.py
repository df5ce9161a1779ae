"""The scripts of the page, run: what they find, and what they draw."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files

import pytest

SCRIPTS = ("search.js", "table.js", "plot.js", "map.js")


@pytest.fixture(scope="module")
def node():
    program = shutil.which("node")
    if program is None:
        pytest.skip("node missing")
    return program


def evaluate(node, script, expression):
    """The value of an expression after a script of the page."""
    source = files("trainer.report").joinpath(script).read_text(encoding="utf-8")
    code = f"{source}\nprocess.stdout.write(JSON.stringify({expression}))"
    done = subprocess.run([node, "-e", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse(node, script, tmp_path):
    path = tmp_path / script
    path.write_text(files("trainer.report").joinpath(script).read_text(encoding="utf-8"))
    subprocess.run([node, "--check", path], check=True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["MgO", "CaMgO2", "NaCl", "C"]),
        ("Mg O", ["MgO", "CaMgO2"]),
        ("O, Ca", ["CaMgO2"]),
        # A symbol is an element: carbon, not calcium or chlorine.
        ("C", ["C"]),
        ("mgo", ["MgO", "CaMgO2"]),
        ("agm7", ["NaCl"]),
        ("xyz", []),
    ],
)
def test_search_knows_elements_formulas_and_ids(node, query, found):
    ids = {"MgO": "a-1", "CaMgO2": "b-2", "NaCl": "agm7", "C": "d-4"}
    matching = f"Object.entries({json.dumps(ids)}).filter((m) => matcher({json.dumps(query)})(...m))"
    assert [formula for formula, _ in evaluate(node, "search.js", matching)] == found


def test_a_spectrum_is_drawn_to_scale(node):
    spectra = "{rpa: [0, 128, 255], ipa: [255, 0, 0], predicted: [0, 0, 255]}"
    svg = evaluate(node, "plot.js", f"spectrumPlot({spectra}, 10, 10, 'Im eps')")
    assert svg.startswith('<svg viewBox="0 0 340 210" role="img" aria-label="Im eps">')
    # The area begins at zero on the left and ends at the largest value on the right, back to the baseline.
    area = svg[svg.index('<path d="M34.0') :].split('"')[1]
    assert area.startswith("M34.0 178.0L")
    assert area.endswith("L332 178L34 178Z")
    assert 'stroke-dasharray="5 3"' in svg
    without = evaluate(node, "plot.js", "spectrumPlot({rpa: [0, 255], ipa: [0, 255]}, 3, 20, '')")
    assert without.count('stroke-width="1.7"') == 0
