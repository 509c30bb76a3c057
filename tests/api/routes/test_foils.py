"""Energies calibrated by the spectrum of a foil, over HTTP."""

from typing import Any

import httpx
import numpy as np
import pytest
from scipy.special import erf

DATASETS = "/api/v1/datasets"


def test_a_foil_gives_the_offset_of_the_energies(client: httpx.Client, dataset: dict[str, Any]) -> None:
    energy_ev = np.arange(5430.0, 5500.0, 0.5)
    rise = 0.5 * (1 + erf((energy_ev - 5461.0) / 2))
    head = "#XDI/1.0\n# Element.symbol: V\n# Element.edge: K\n# Column.1: energy eV\n# Column.2: xmu\n#---\n"
    text = head + "\n".join(f"{energy} {mu}" for energy, mu in zip(energy_ev, rise, strict=True))
    path = f"{DATASETS}/{dataset['id']}/foil"
    found = client.post(path, json={"xdi": text}).json()
    assert found["edge_ev"] == pytest.approx(5461.0, abs=0.1)
    assert found["offset_ev"] == pytest.approx(found["tabulated_ev"] - found["edge_ev"], abs=1e-3)
    for wrong in (text.replace("symbol: V", "symbol: Fe"), "no XDI", "", head):
        refused = client.post(path, json={"xdi": wrong})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")
    assert client.post(path.replace(dataset["id"], "ds_none"), json={"xdi": text}).status_code == 404
