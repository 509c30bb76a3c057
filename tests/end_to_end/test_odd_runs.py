"""Odd runs beside a good one, with the run loop and its workers: the good one succeeds, and each odd one is refused or ends."""

import json
import re
import time
from collections import Counter
from itertools import count
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from imaged import PIXEL_M, imaged
from lab import Array, Lab
from near_valid import NEAR, QUICK, UNFORESEEN, npz, options

from tasks.scattering import Absorber

WAIT_S: Final = 300.0
"""Bound of a good run: it takes seconds alone, and minutes beside others on a machine that is busy with more."""
GRACE_S: Final = 5.0
"""Time that odd runs have to end by themselves after the good one has succeeded."""
STOP_S: Final = 120.0
"""Bound of an odd run after it was cancelled."""
ENDED: Final = ("succeeded", "failed", "cancelled")

ACCEPTED_OF_IMAGES: Final[list[dict[str, Any]]] = [
    {"kkr": {"gamma": 5e-324, "mode": "phase_to_absorption"}, "fit": {"min_jump_to_sigma": 5e-324}},
    {"align": {"vacuum_box": [0, 1, 0, 1], "min_vacuum_fraction": 5e-324}},
    {"align": {"min_vacuum_fraction": 0.999999, "energy_offset_ev": 40}},
    {"fit": {"pre_edge_ev": [-1e-300, -5e-324], "post_edge_ev": [5e-324, 1e-300], "model": "none"}},
    {"fit": {"model": "no_pre_edge", "min_jump_to_sigma": 1e308}},
    {"fit": {"joint": True}, "kkr": {"mode": "off"}, "domains": {"n_domains": 12, "descriptors": ["edge_energy_centroid"]}},
    {"domains": {"n_factors": 12, "n_components": 12, "space": "components", "replicates": 3, "seed": 2**63 - 1}},
    {"chemistry": {"compounds": ["V", "VO2", "V1e6O1e-6", "(V(O)2)3"], "phase_energy_ev": 5420.5}},
]
FEW: Final = {"cycles": 1, "start_from": "optics"}
ACCEPTED_OF_FRAMES: Final[list[dict[str, Any]]] = [
    {"reconstruct": {"cycles": 1800, "start_from": "optics"}, "kkr": {"start": 1, "every": 1}},
    {"reconstruct": {**FEW, "seed": 2**63 - 1, "alpha": 1e-300, "regularisation": 1e-300, "settle": 1}},
]
LONG: Final[dict[str, Any]] = {
    "reconstruct": {"cycles": 100_000, "start_from": "optics"},
    "kkr": {"start": 99_999, "every": 100_000},
}
"""Of which one step takes minutes: nothing takes a worker from a step that goes on, but its run can be cancelled."""
REFUSED: Final[list[dict[str, Any]]] = [
    {"reconstruct": {"cycles": 100_000}, "kkr": {"start": 1, "every": 1}},
    {"reconstruct": {"cycles": 2000}, "kkr": {"start": 1, "every": 1}},
    {"align": {"vacuum_box": [0, 100_000, 0, 100_000]}},
    {"fit": {"model": "l3_l2"}},
    {"chemistry": {"phase_energy_ev": 1e308}},
    {"chemistry": {"phase_energy_ev": float("inf")}},
    {"chemistry": {"compounds": ["V0O2", "Fe", "V2O5 0.5H2O", "V" * 200]}},
    {"references": {"xdi": ["# XDI/1.0\n1 2\n", "\0\ud800", "5e3 nan\n6e3 inf\n"]}},
    {"references": {"names": ["\u202e", "../../etc/passwd"]}},
]
"""Options near the limits of what is accepted, on both sides."""

ODD_IMAGES: Final[list[tuple[Absorber, float, dict[str, Any]]]] = [
    (Absorber("V", "K"), 12.0, {"group": "g" * 200, "name": "$\\frac{1}{0}$ 日本"}),
    (Absorber("C", "K"), 8.0, {"group": "\u200b"}),
    (Absorber("Al", "L3"), 8.0, {}),
    (Absorber("W", "K"), 40.0, {"standard": True}),
]
"""Edge, distance of the energies and description of datasets of images of noise."""
NAMES: Final = st.sampled_from(
    ["", "x" * 200, "x" * 201, "日本 🧪", "a\x1b[2Jb", "\u202e", "%0a%00", "<b>&amp;", "$\\frac{1}{0}$", "\ud800"]
)


class Besieged:
    """A service, frames of one energy, images of a particle, frames of noise, and images of noise."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._numbers, self._n_logged = count(1), len(lab.serving.log.read_text(encoding="utf-8"))
        particle = imaged()
        self.particle = self.dataset(Absorber(), particle.energies_ev, {}, object=particle.objects)
        counts = np.random.default_rng(0).poisson(50, (10, 16, 32, 32)).astype(np.uint16)
        self.single = self.dataset(Absorber(), np.array(5420.0), {}, counts=counts[0])
        self.frames = self.dataset(Absorber(), np.linspace(5420, 5540, 10), {}, counts=counts)
        self.odd = [self.noise(*described) for described in ODD_IMAGES]

    def dataset(self, absorber: Absorber, energies_ev: Array, sample: dict[str, Any], **arrays: Any) -> str:
        """Id of a sealed dataset of one file, which holds all its energies."""
        of_kind: dict[str, Any] = {"probe": {"kind": "gaussian", "fwhm_m": 3e-7}, "distance_m": 0.5}
        if "counts" not in arrays:
            of_kind, arrays = {"kind": "images", "pixel_size_m": PIXEL_M}, {**arrays, "counts": None, "positions_m": None}
        about = {"title": "odd", "absorber": {"element": absorber.element, "edge": absorber.edge}}
        sample = {"formula": absorber.element, **sample}
        dataset = str(self.lab.client.create_dataset({**about, **of_kind, "sample": sample})["id"])
        body = npz(energies_ev, **arrays)
        self.lab.http.put(f"/datasets/{dataset}/scans/all", content=body).raise_for_status()
        self.lab.client.seal(dataset)
        return dataset

    def noise(self, absorber: Absorber, spacing_ev: float, sample: dict[str, Any]) -> str:
        """Id of a dataset of images of noise at twelve energies about an edge."""
        energies_ev = np.maximum(30.0 + np.arange(12), absorber.edge_energy_ev + spacing_ev * (np.arange(12) - 4.5))
        parts = np.random.default_rng(0).normal(0, 0.1, (2, 12, 24, 24))
        return self.dataset(absorber, energies_ev, sample, object=np.exp(parts[0] + 1j * parts[1]).astype(np.complex64))

    def log(self) -> str:
        """What the service has logged since these tests began."""
        return self.lab.serving.log.read_text(encoding="utf-8")[self._n_logged :]

    def see_ready(self) -> None:
        """The service is ready for runs."""
        ready = self.lab.http.get(f"{self.lab.serving.url}/readyz")
        assert ready.status_code == 200, ready.text

    def request(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """Send a request, whose answer must not be an error of the service, and see that the service is ready."""
        answer = self.lab.http.request(method, path, **sent)
        assert answer.status_code < 500, (method, path, sent, answer.text)
        self.see_ready()
        return answer

    def submit(self, body: dict[str, Any]) -> str | None:
        """Submit a run; its id, or None where it was refused with the fields at fault."""
        content = json.dumps(body)  # as httpx would not write it: with infinities, and halves of surrogate pairs
        answer = self.request("POST", "/runs", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (202, 422), answer.text
        assert answer.status_code == 202 or answer.json()["errors"], answer.text
        return str(answer.json()["id"]) if answer.status_code == 202 else None

    def views(self, runs: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The runs as they stand, by their ids."""
        return {run: self.request("GET", f"/runs/{run}").json() for run in runs}

    def wait(self, runs: dict[str, Any], timeout_s: float) -> dict[str, dict[str, Any]]:
        """Wait until all of them have ended."""
        until = time.monotonic() + timeout_s
        while True:
            found = self.views(runs)
            unfinished = [run for run, view in found.items() if view["state"] not in ENDED]
            if not unfinished:
                return found
            assert time.monotonic() < until, [(found[run]["state"], found[run]["progress"], runs[run]) for run in unfinished]
            time.sleep(0.2)

    def succeed(self, datasets: list[str], chosen: dict[str, Any]) -> str:
        """Id of a run that must succeed."""
        run = self.submit({"datasets": datasets, "options": chosen})
        assert run is not None
        found = self.wait({run: chosen}, WAIT_S)[run]
        assert (found["state"], found["error"]) == ("succeeded", None)
        return run

    def run_beside(self, bodies: list[dict[str, Any]]) -> Counter[str]:
        """Submit odd runs and a good one, which must succeed; cancel what goes on, delete all, and count how they ended."""
        odd = {run: body for body in bodies if (run := self.submit(body)) is not None}
        self.succeed([self.single], {"reconstruct": {"cycles": 2, "seed": next(self._numbers)}})
        until = time.monotonic() + GRACE_S
        while time.monotonic() < until and any(view["state"] not in ENDED for view in self.views(odd).values()):
            time.sleep(0.5)
        for run, view in self.views(odd).items():
            if view["state"] not in ENDED:
                assert self.request("POST", f"/runs/{run}/cancel").status_code in (202, 409)
        ended = Counter(refused=len(bodies) - len(odd))
        for run, view in self.wait(odd, STOP_S).items():
            ended[view["state"]] += 1
            assert (view["state"] == "failed") == bool(view["error"]), view
            for text in (view["error"], *(stage["note"] for stage in view["stages"])):
                assert not UNFORESEEN.search(text or ""), (odd[run], text)
            assert self.request("GET", f"/runs/{run}/figures").status_code in (200, 409)
            assert self.request("DELETE", f"/runs/{run}").status_code == 204
        return ended


@pytest.fixture(scope="module")
def besieged(lab: Lab) -> Besieged:
    return Besieged(lab)


def test_runs_beyond_the_limits_are_refused(besieged: Besieged) -> None:
    for chosen in REFUSED:
        for dataset in (besieged.frames, *([besieged.particle] if "reconstruct" not in chosen else [])):
            assert besieged.submit({"datasets": [dataset], "options": chosen}) is None, chosen


def test_runs_at_the_limits_and_on_odd_datasets_end_and_hold_nothing_up(besieged: Besieged) -> None:
    every, alone = {"chemistry": {"preset": "chantler"}}, {"fit": {"model": "none"}, "kkr": {"mode": "off"}}
    bodies = [{"datasets": [besieged.particle], "options": chosen} for chosen in ACCEPTED_OF_IMAGES]
    bodies += [{"datasets": [besieged.frames], "options": chosen} for chosen in ACCEPTED_OF_FRAMES]
    of_odd: list[dict[str, Any]] = [{"datasets": [one], "options": {**every, **alone}} for one in besieged.odd]
    of_odd += [{"datasets": [besieged.particle, one], "options": every} for one in besieged.odd[:2]]
    ended = besieged.run_beside(bodies + of_odd)
    assert 0 < ended["refused"] < len(of_odd)
    assert ended["succeeded"] + ended["failed"] > 0


def test_drawn_runs_end_and_hold_nothing_up(besieged: Besieged) -> None:
    counted: Counter[str] = Counter()
    datasets = st.sampled_from([[one] for one in (besieged.particle, besieged.single, *besieged.odd)])
    body = st.fixed_dictionaries({"datasets": datasets, "options": options()}, optional={"name": NAMES})

    @settings(QUICK, max_examples=1, phases=[Phase.generate])
    @given(bodies=st.lists(body, min_size=8, max_size=8, unique_by=repr))
    def submit(bodies: list[dict[str, Any]]) -> None:
        counted.update(besieged.run_beside(bodies))

    submit()
    assert 0 < counted["refused"] < counted.total()


@pytest.fixture(scope="module")
def done(besieged: Besieged) -> str:
    """A run on images that has succeeded, after one that filled all workers was cancelled."""
    run = besieged.submit({"datasets": [besieged.frames], "options": LONG})
    assert run is not None
    until = time.monotonic() + WAIT_S
    while (view := besieged.views({run: LONG})[run])["state"] == "queued" or view["progress"] == 0:
        assert time.monotonic() < until, view
        time.sleep(0.2)
    assert besieged.request("POST", f"/runs/{run}/cancel").status_code == 202
    assert besieged.wait({run: LONG}, STOP_S)[run]["state"] == "cancelled"
    return besieged.succeed([besieged.particle], {"domains": {"n_domains": 2, "replicates": 0}})


def test_a_long_run_lets_go_of_the_workers_once_it_is_cancelled(besieged: Besieged, done: str) -> None:
    assert besieged.views({done: {}})[done]["progress"] == 1


PATHS: Final = [
    "/runs/{run}", "/runs/{run}/events", "/runs/{run}/figures/{text}.png", "/runs/{run}/images/{dataset}/{name}.png",
    "/runs/{run}/spectrum", "/runs/{run}/export", "/runs/{run}/results.zarr/{dataset}/maps/{name}/c/{text}", "/runs/{text}",
    "/runs/{run}/energies", "/runs", "/datasets", "/datasets/{text}", "/datasets/{dataset}/scans/{text}/overview.png",
]  # fmt: skip
QUERIES: Final = [
    "energy_ev", "cmap", "vmin", "vmax", "width", "plain", "dataset", "y", "x", "format", "limit", "cursor", "q", "element",
    "group", "state", "label", "since", "until",
]  # fmt: skip
TEXTS: Final = st.sampled_from(
    ["", "0", "-1", "1e999", "nan", "inf", "-Infinity", "9" * 4300, "1e308", "domains", "viridis", "csv", "nexus", "%00", "%0a",
     "\x00", "a\nb", "日本", "../..", "..%2f..", "0.0", "true", "queued", "x" * 5000, "[]", "'; drop table runs; --", "%", "_",
     "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "bm90IGEgY3Vyc29y"]
)  # fmt: skip


def test_odd_questions_about_results_are_answered(besieged: Besieged, done: str) -> None:
    known = {"run": done, "dataset": besieged.particle, "name": "edge_energy"}
    outcomes = set()

    @settings(QUICK, max_examples=80)
    @given(
        path=st.sampled_from(PATHS),
        text=TEXTS,
        query=st.lists(st.tuples(st.sampled_from(QUERIES), st.one_of(TEXTS, st.just(besieged.particle))), max_size=3),
    )
    def ask(path: str, text: str, query: list[tuple[str, str]]) -> None:
        address = f"{path.format(**known, text=quote(text, safe=''))}?{urlencode(query)}"
        with besieged.lab.http.stream("GET", address) as answer:
            outcomes.add(answer.status_code)
            assert answer.status_code < 500, (path, text, query)

    ask()
    besieged.see_ready()
    assert {200, 404, 422} <= outcomes


def test_odd_areas_have_a_spectrum_or_a_field_at_fault(besieged: Besieged, done: str) -> None:
    outcomes = set()
    corners = st.lists(st.lists(st.integers(-3, 70), max_size=3), max_size=5)
    area = st.dictionaries(st.sampled_from(["pixel", "box", "polygon", "x"]), st.one_of(NEAR, corners), max_size=2)

    @settings(QUICK, max_examples=30)
    @given(area=st.one_of(area, st.fixed_dictionaries({"pixel": st.tuples(st.integers(0, 30), st.integers(0, 30))})))
    def measure(area: dict[str, Any]) -> None:
        content = json.dumps({"areas": [{"dataset": besieged.particle, **area}]})
        answer = besieged.request("POST", f"/runs/{done}/spectra", content=content, headers={"Content-Type": "application/json"})
        outcomes.add(answer.status_code)
        assert answer.status_code == 200 or answer.json()["errors"], answer.text

    measure()
    assert outcomes == {200, 422}


UNHEARD: Final = re.compile(r"tick of the run loop failed|Traceback \(most recent call last\)|Exception in ASGI|cannot go on")


def test_nothing_unforeseen_was_logged(besieged: Besieged) -> None:
    found = UNHEARD.search(besieged.log())
    assert found is None, besieged.log()[max(0, found.start() - 2000) : found.end() + 3000]
    for path in ("/metrics", "/"):
        assert besieged.lab.http.get(f"{besieged.lab.serving.url}{path}").is_success
