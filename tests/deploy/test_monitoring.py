"""What Prometheus and Grafana are given asks for metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from farm.metrics import METRICS, NAMES

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana/dashboards/farm.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((MONITORING / "rules.yml").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
LABELS = {metric.name: {"farm", *metric.labels} for metric in METRICS}


@pytest.mark.parametrize("query", sorted({*QUERIES, *(rule["expr"] for rule in ALERTS)}))
def test_every_query_is_of_our_metrics_and_their_labels(query: str) -> None:
    names = re.findall(r"\bfarm_\w+", query)
    assert set(names) <= NAMES
    for name, labels in re.findall(r"\b(farm_\w+)\{([^}]*)\}", query):
        assert set(re.findall(r"(?:^|,)(\w+)[=!]", labels)) <= LABELS[name]


@pytest.mark.parametrize("query", sorted({*QUERIES, *(rule["expr"] for rule in ALERTS)}))
def test_only_counters_are_taken_for_such(query: str) -> None:
    # Of a number that falls, as when jobs are queued again, Prometheus would add all there ever was.
    counted = set(re.findall(r"\b(?:rate|irate|increase)\((\w+)", query))
    assert counted <= {metric.name for metric in METRICS if metric.kind == "counter"}


def test_what_is_so_now_is_not_what_was_so_last() -> None:
    # Over a range Grafana shows the last value there was: a scheduler whose dashboard died hours ago leads.
    now = {"Time to finish", "Held-out median SC", "Scheduler", "Failures by diagnosis"}
    panels = [panel for panel in DASHBOARD["panels"] if panel["title"] in now]
    assert len(panels) == len(now)
    assert all(target["instant"] for panel in panels for target in panel["targets"])


def test_the_dashboard_shows_every_kind_of_metric() -> None:
    shown = set(re.findall(r"\bfarm_\w+", " ".join(QUERIES)))
    told = shown | set(re.findall(r"\bfarm_\w+", " ".join(rule["expr"] for rule in ALERTS)))
    assert NAMES - told == {"farm_paused", "farm_checkpoint_trained_on", "farm_refit_state"}


def test_panels_do_not_overlap_and_have_titles() -> None:
    taken = set[tuple[int, int]]()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["title"]


def test_every_alert_says_what_is_so() -> None:
    for rule in ALERTS:
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("page", "warn")


def test_no_secret_is_in_the_configuration() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    assert set(job["authorization"]) == {"type", "credentials_file"}
    assert job["metrics_path"] == "/metrics"
