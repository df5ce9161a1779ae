"""The site: builds without a warning, every link leads somewhere, nothing is loaded from elsewhere."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest

from farm.cli.main import _SECTIONS, cli
from farm.metrics import METRICS
from farm.protocol import Protocol
from farm.settings import _NOT_FIELDS, Settings
from tests.docs.pages import ROOT, pages

# Pages for readers have no word of how they came about, and no place of a machine.
_FOREIGN = re.compile(r"/work/|/tmp/|/root/|\bTODO\b|\bFIXME\b|\bsession \d|issue #\d", re.IGNORECASE)
_LOADING = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "video": "src",
    "object": "data",
}


class _Page(HTMLParser):
    """Anchors, links, and what a page loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.n_formulas = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        self.n_formulas += tag == "math"
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if address := given.get(_LOADING.get(tag, ""), ""):
            self.loads.append(address)
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(given.get("href", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; in strict mode a warning ends the build."""
    directory = tmp_path_factory.mktemp("site")
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return directory


@pytest.fixture(scope="module")
def built(site: Path) -> dict[Path, _Page]:
    """Every page of it by its file."""
    return {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def test_every_page_that_is_written_is_built(site: Path) -> None:
    for page in pages():
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").is_file(), page


def _local(path: Path, address: str, site: Path) -> tuple[Path, str]:
    parts = urlsplit(address)
    target = (
        site / parts.path.lstrip("/") if parts.path.startswith("/") else path.parent / unquote(parts.path)
    )
    return (target if parts.path else path).resolve(), unquote(parts.fragment)


def _broken(built: dict[Path, _Page], site: Path) -> Iterator[str]:
    for path, page in built.items():
        for link in page.links:
            if urlsplit(link).scheme or path.name == "404.html":
                continue
            target, fragment = _local(path, link, site)
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                yield f"{path.name}: {link}"
            elif fragment and target in built and fragment not in built[target].anchors | {"__codelineno"}:
                yield f"{path.name}: {link} has no such anchor"


def test_every_link_and_anchor_leads_somewhere(built: dict[Path, _Page], site: Path) -> None:
    assert sum(len(page.links) for page in built.values()) > 500
    resolved = {path.resolve(): page for path, page in built.items()}
    assert list(_broken(resolved, site)) == []


def test_nothing_is_loaded_from_elsewhere(built: dict[Path, _Page], site: Path) -> None:
    for path, page in built.items():
        assert page.loads
        for address in page.loads:
            if address.startswith("data:"):
                continue
            assert not urlsplit(address).netloc, f"{path.name} loads {address}"
            assert path.name == "404.html" or _local(path, address, site)[0].is_file(), (
                f"{path.name}: {address}"
            )
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"url\(\s*['\"]?(?:https?:)?//|@import\s+['\"]?http", text), style


def test_formulas_are_drawn_without_a_script(site: Path, built: dict[Path, _Page]) -> None:
    physics = site / "explanation/physics.html"
    assert built[physics].n_formulas > 20
    assert "arithmatex" not in physics.read_text(encoding="utf-8")


def test_every_command_is_in_the_reference(site: Path) -> None:
    import click

    text = "".join(
        path.read_text(encoding="utf-8") for path in (site / "reference/commands").glob("*.html")
    )
    for name in cli.list_commands(click.Context(cli)):
        command = cli.get_command(click.Context(cli), name)
        assert f"farm {name}" in text
        for option in (
            option for p in command.params if p.param_type_name == "option" for option in p.opts
        ):
            assert option in text, f"farm {name} {option}"


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("settings", list(Settings.model_fields)),
        ("protocol", list(Protocol.model_fields)),
        ("metrics", [metric.name for metric in METRICS]),
    ],
)
def test_every_name_is_in_its_table(site: Path, page: str, names: list[str]) -> None:
    text = (site / f"reference/{page}.html").read_text(encoding="utf-8")
    assert "generated:" not in text
    assert [name for name in names if f"<code>{name}</code>" not in text] == []


def test_every_variable_that_is_no_setting_is_told(site: Path) -> None:
    text = (site / "reference/settings.html").read_text(encoding="utf-8")
    # Set by `farm up` for the roles that it starts, by nobody else.
    told = _NOT_FIELDS - {"FARM_SUPERVISED"}
    assert [name for name in sorted(told) if name not in text] == []


def test_the_index_of_the_reference_names_every_command() -> None:
    import click

    text = (ROOT / "docs/reference/index.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[.*?commands/.*?$", text, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z]+)`", row)}
    assert named == set(cli.list_commands(click.Context(cli)))


def test_tables_of_the_reference_show_what_is_typed(site: Path) -> None:
    cells = [
        html.unescape(cell)
        for path in (site / "reference").rglob("*.html")
        for cell in re.findall(r"<td>(.*?)</td>", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    ]
    assert "<code>--rung [rpa|ipa]</code>" in cells
    assert [cell for cell in cells if "\\" in cell] == []
    # To the last digit: another shift is another hash.
    assert ", ".join(str(part) for part in Protocol().response_kshift) in cells


@pytest.mark.parametrize(
    "page", [*pages(), ROOT / "CONTRIBUTING.md", ROOT / "README.md"], ids=lambda p: p.name
)
def test_pages_speak_of_the_product_alone(page: Path) -> None:
    assert not _FOREIGN.findall(page.read_text(encoding="utf-8"))


def test_citation_is_complete() -> None:
    import yaml

    import farm

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license"} <= set(cited)
    assert cited["version"] == farm.__version__
    (article,) = cited["references"]
    assert (article["volume"], article["start"], article["year"]) == (16, "8142", 2025)


def test_faults_are_told_with_tests_that_there_are() -> None:
    text = (ROOT / "docs/explanation/guarantees.md").read_text(encoding="utf-8")
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", text)
    assert len(named) > 12
    assert [name for name in named if f"def {name}(" not in tests] == []
    assert all((ROOT / path).is_file() for path in re.findall(r"`(tests/[\w/]+\.py)`", text))


def test_every_command_has_a_section_of_the_help() -> None:
    known = cli.list_commands(click.Context(cli))
    assert sorted(name for names in _SECTIONS.values() for name in names) == sorted(known)
