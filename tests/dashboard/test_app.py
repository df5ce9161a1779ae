"""The frame of the dashboard: what every page has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient


@pytest.mark.usefixtures("stored")
def test_overview_is_a_page_with_its_landmarks(browse: Callable[..., TestClient]) -> None:
    page = browse().get("/")
    assert page.status_code == 200
    for mark in ('<main id="main"', '<nav aria-label="Pages"', 'class="skip"', '<html lang="en">'):
        assert mark in page.text
