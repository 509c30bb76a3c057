"""What the step of the domains says of its options."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from imaged import PIXEL_M, imaged

from service.stages.context import DataPaths
from service.stages.pipeline import build_graph
from storage.datasets.store import DatasetStore
from tasks.options.run import RunOptions


def test_a_number_of_domains_far_from_the_elbow_is_warned_of(
    paths: DataPaths, tmp_path: Path, read_input: Any, options_of: Callable[..., RunOptions], compute: Callable[..., Any]
) -> None:
    store = DatasetStore(paths.datasets)
    about = {"sample": {"name": "", "formula": "LiVO2", "group": ""}, "absorber": {"element": "V", "edge": "K"}}
    store.create("ds_a", {"title": "images", "kind": "images", "provenance": {"created": "2024-05-01T12:00:00+00:00"}} | about)
    np.savez(tmp_path / "images.npz", pixel_size_m=PIXEL_M, energy_ev=imaged().energies_ev, object=imaged().objects)
    store.add_scan("ds_a", "stack", tmp_path / "images.npz")
    store.seal("ds_a")

    def warnings(k: int) -> list[str]:
        options = options_of(domains={"n_domains": k, "replicates": 0}, fit={"min_jump_to_sigma": 3.0})
        graph = build_graph([read_input(store)], options, "run_1")
        results = compute(paths, graph, "spectra", "fit", "maps", "domains")
        [step] = [step for step in graph.steps.values() if step.stage == "domains"]
        return list(results[step.name].attributes["warnings"])

    [told] = warnings(6)
    assert told.startswith("domains.n_domains is 6, the elbow of the inertia lies at 2")
    assert warnings(3) == []
