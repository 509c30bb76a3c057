"""A client that openapi-python-client makes from the OpenAPI document works against the service."""

import importlib
import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from openapi_python_client import generate
from openapi_python_client.config import Config, ConfigFile, MetaType

from api.app import create_app
from service.settings import Settings

PICTURES = ("image/png", "image/svg+xml", "application/pdf")
"""Types of answers that the generator knows as bytes only when it is told so."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, serve: Any, quiet_service: Any) -> Iterator[str]:
    """Address of a real service without a cluster."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("service"), min_free_bytes=0)
    with serve(create_app(quiet_service(settings))) as url:
        yield url


@pytest.fixture(scope="module")
def package(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of the generated package, which can be imported; the generator had nothing to remark."""
    folder = tmp_path_factory.mktemp("generated")
    overrides = dict.fromkeys(PICTURES, "application/octet-stream")
    config = Config.from_sources(
        ConfigFile(post_hooks=[], content_type_overrides=overrides, package_name_override="made_client"),
        MetaType.NONE, f"{url}/api/v1/openapi.json", "utf-8", overwrite=True, output_path=folder / "made_client",
    )  # fmt: skip
    assert [(error.header, error.detail) for error in generate(config=config)] == []
    sys.path.insert(0, str(folder))
    yield "made_client"
    sys.path.remove(str(folder))


def measured() -> bytes:
    """An NPZ file of one energy: nine frames at positions 100 nm apart."""
    counts = np.random.default_rng(0).poisson(20, (9, 32, 32)).astype(np.uint16)
    positions = np.stack(np.divmod(np.arange(9), 3), axis=1) * 100e-9
    file = io.BytesIO()
    np.savez(file, counts=counts, positions_m=positions, energy_ev=5420.0, distance_m=0.5, detector_pixel_size_m=75e-6)
    return file.getvalue()


def test_a_generated_client_sends_a_scan_and_submits_a_run(url: str, package: str) -> None:
    def module(path: str) -> Any:
        return importlib.import_module(f"{package}.{path}")

    models, types = module("models"), module("types")
    with module("client").Client(base_url=url) as client:
        body = {"title": "made", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}
        create = module("api.datasets.create_dataset").sync
        dataset = create(client=client, body=models.DatasetBody.from_dict(body | {"orientation": 3}))
        assert (dataset.title, dataset.orientation, dataset.state) == ("made", 3, "open")
        file = types.File(payload=io.BytesIO(measured()))
        scan = module("api.datasets.put_scan").sync(dataset.id, "e0", client=client, body=file)
        assert scan.energy_ev == 5420.0
        assert module("api.datasets.seal_dataset").sync(dataset.id, client=client).energies_ev == [scan.energy_ev]
        picture = module("api.datasets.get_scan_overview").sync(dataset.id, "e0", client=client)
        assert picture.payload.read(4) == b"\x89PNG"
        wanted = {"datasets": [dataset.id], "options": {"domains": {"n_domains": 3}}, "name": "made run"}
        run = module("api.runs.submit_run").sync(client=client, body=models.RunBody.from_dict(wanted))
        assert (run.state, run.datasets) == ("queued", [dataset.id])
        assert run.options["domains"]["n_domains"] == 3
        assert [item.id for item in module("api.runs.list_runs").sync(client=client).items] == [run.id]
        refused = module("api.datasets.get_dataset").sync_detailed("ds_0000000000000000", client=client)
        assert (refused.status_code, json.loads(refused.content)["code"]) == (404, "not-found")
