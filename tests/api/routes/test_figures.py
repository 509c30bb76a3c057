"""Figures and images over HTTP."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from api.app import MOST_DRAWINGS_WAITING as MOST_WAITING

RUNS = "/api/v1/runs"
PNG = b"\x89PNG\r\n\x1a\n"


def test_figures_are_listed_and_served(client: httpx.Client, finished: dict[str, Any]) -> None:
    figures = client.get(f"{RUNS}/{finished['id']}/figures").json()["items"]
    assert [(figure["name"], figure["dataset"]) for figure in figures] == [
        ("edge_energy", finished["datasets"][0]),
        ("elbow", None),
    ]
    served = client.get(figures[0]["url"])
    assert (served.headers["content-type"], served.content[:8]) == ("image/png", PNG)
    again = client.get(figures[0]["url"], headers={"If-None-Match": served.headers["etag"]})
    assert again.status_code == 304
    assert client.get(f"{RUNS}/{finished['id']}/figures/none.png").status_code == 404


def test_figures_are_drawn_for_a_dark_page(client: httpx.Client, finished: dict[str, Any]) -> None:
    path = f"{RUNS}/{finished['id']}/figures/elbow.png"
    dark = client.get(path, params={"theme": "dark"})
    assert (dark.headers["content-type"], dark.content) == ("image/png", b"\x89PNG, dark")
    assert client.get(path, params={"theme": "light"}).content == client.get(path).content != dark.content
    assert client.get(path, params={"theme": "sepia"}).status_code == 422
    assert client.get(path.replace("elbow", "none"), params={"theme": "dark"}).status_code == 404


@pytest.mark.parametrize(
    ("suffix", "media_type", "start"), [("pdf", "application/pdf", b"%PDF"), ("svg", "image/svg+xml", b"<svg")]
)
def test_figures_are_drawn_as_vectors(
    client: httpx.Client, finished: dict[str, Any], suffix: str, media_type: str, start: bytes
) -> None:
    path = f"{RUNS}/{finished['id']}/figures/elbow.{suffix}"
    drawn = client.get(path)
    assert (drawn.headers["content-type"].partition(";")[0], drawn.content[:4]) == (media_type, start)
    assert client.get(path, headers={"If-None-Match": drawn.headers["etag"]}).status_code == 304
    assert client.get(path.replace("elbow", "none")).status_code == 404


def test_images_are_drawn_as_asked(client: httpx.Client, finished: dict[str, Any]) -> None:
    path = f"{RUNS}/{finished['id']}/images/{finished['datasets'][0]}/absorption.png"
    plain = client.get(path)
    assert (plain.status_code, plain.content[:8]) == (200, PNG)
    assert client.get(path, headers={"If-None-Match": plain.headers["etag"]}).status_code == 304
    other = client.get(path, params={"energy_ev": 5470, "cmap": "magma", "width": 300})
    assert other.headers["etag"] != plain.headers["etag"]
    assert client.get(path.replace("absorption", "temperature")).status_code == 404


@pytest.mark.parametrize(
    ("query", "field", "hint"),
    [
        ({"energy": "5470"}, "energy", "energy_ev"),
        ({"energy_ev": "-1"}, "energy_ev", "greater"),
        ({"width": "9"}, "width", "64"),
        ({"cmap": "a/b"}, "cmap", "pattern"),
        ({"width": "100000"}, "width", "2048"),
        ({"vmin": "-1e308", "vmax": "1"}, "vmin", "greater"),
        ({"vmax": "1e308"}, "vmax", "less"),
        ({"vmin": "nan"}, "vmin", "finite"),
        ({"vmax": "1e999"}, "vmax", "finite"),
        ({"vmin": "-inf"}, "vmin", "finite"),
        ({"energy_ev": "inf"}, "energy_ev", "finite"),
    ],
)
def test_faults_of_the_query_name_the_field(
    client: httpx.Client, finished: dict[str, Any], query: dict[str, Any], field: str, hint: str
) -> None:
    refused = client.get(f"{RUNS}/{finished['id']}/images/{finished['datasets'][0]}/phase.png", params=query)
    assert refused.status_code == 422
    fault = refused.json()["errors"][0]
    assert fault["field"] == field
    assert hint in fault["message"]


def test_an_unfinished_run_has_no_images(client: httpx.Client, run: dict[str, Any]) -> None:
    refused = client.get(f"{RUNS}/{run['id']}/images/{run['datasets'][0]}/phase.png")
    assert refused.json()["code"] == "results-not-ready"


class SlowImages:
    """Stands for `Runs.image`: draws nothing before it is told to, and knows how many were drawn at the same time."""

    def __init__(self) -> None:
        self.n_at_work = self.most_at_work = 0
        self.go_on = threading.Event()
        self._guard = threading.Lock()

    def __call__(self, *_: object, **__: object) -> bytes:
        with self._guard:
            self.n_at_work += 1
            self.most_at_work = max(self.most_at_work, self.n_at_work)
        assert self.go_on.wait(60)
        with self._guard:
            self.n_at_work -= 1
        return PNG


def test_images_are_drawn_two_at_a_time_and_hold_up_no_other_answer(
    client: httpx.Client, service: Any, finished: dict[str, Any]
) -> None:
    images = service.runs.results.image = SlowImages()
    path = f"{RUNS}/{finished['id']}/images/{finished['datasets'][0]}/phase.png"
    with ThreadPoolExecutor(MOST_WAITING + 12) as pool:
        asked = [pool.submit(client.get, path, timeout=60) for _ in range(MOST_WAITING + 12)]
        until = time.monotonic() + 30
        while (images.n_at_work < 2 or not any(future.done() for future in asked)) and time.monotonic() < until:
            time.sleep(0.01)
        for other in (f"{RUNS}/{finished['id']}", RUNS, "/readyz", "/", "/metrics"):
            assert client.get(other, timeout=30).status_code == 200, other
        images.go_on.set()
        answers = [future.result() for future in asked]
    assert images.most_at_work == 2
    drawn = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(drawn) >= MOST_WAITING
    assert len(drawn) + len(refused) == len(answers)
    assert refused
    assert all(answer.json()["code"] == "busy" and answer.headers["retry-after"] for answer in refused)
