"""The table of a run's energies over HTTP."""

from typing import Any

import httpx


def test_energies_are_listed_as_far_as_they_are_done(client: httpx.Client, service: Any, run: dict[str, Any]) -> None:
    path = f"/api/v1/runs/{run['id']}/energies"
    assert client.get(path).json() == {"items": []}
    service.runs.advance(run["id"], 2)
    first, second = client.get(path).raise_for_status().json()["items"]
    assert (first["energy_ev"], first["n_cycles"], first["resolution_m"], first["drift_px"]) == (5420.0, 60, None, None)
    assert first["warnings"] == ["5420.0 eV: little overlap"]
    assert second["resolution_m"] is None
    assert second["errors"][-1] == second["r_factor"]
    assert len(second["cycles"]) == len(second["errors"]) == 60
    assert client.get("/api/v1/runs/run_none/energies").status_code == 404
