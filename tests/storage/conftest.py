"""A small measurement with nothing wrong with it, and files that hold it, to be spoilt one field at a time."""

import json
import os
import shutil
import subprocess
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sqlalchemy import create_engine, text

from storage.datasets.store import DatasetStore

ENERGY_EV = 5420.0
JOULE_EV = 1.602176634e-19
P, N = 6, 16
DEMOTED_USER = 65534
"""PostgreSQL refuses to run as root, so a root's tests run it as nobody."""


def measurement(**changed: Any) -> dict[str, Any]:
    """Fields of one scan as a plain file names them; ``changed`` replaces them, None leaves one out."""
    random = np.random.default_rng(1)
    steps = 150e-9 * np.stack(np.meshgrid(np.arange(2.0), np.arange(3.0), indexing="ij"), -1).reshape(-1, 2)
    fields: dict[str, Any] = {
        "counts": random.poisson(20, (P, N, N)).astype(np.int32),
        "positions_m": steps,
        "energy_ev": ENERGY_EV,
        "distance_m": 1.5,
        "detector_pixel_size_m": 75e-6,
    }
    return {name: value for name, value in {**fields, **changed}.items() if value is not None}


def write_npz(path: Path, **changed: Any) -> Path:
    np.savez(path, **measurement(**changed))
    return path


def write_plain(path: Path, **changed: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in measurement(**changed).items():
            file[name] = value
    return path


def write_entry(entry: h5py.Group, fields: dict[str, Any]) -> None:
    """Write one CXI entry; a field is left out where it is not among ``fields``."""
    places = {
        "counts": "instrument_1/detector_1/data",
        "distance_m": "instrument_1/detector_1/distance",
        "bad_pixels": "instrument_1/detector_1/mask",
        "probe": "instrument_1/source_1/illumination",
    }
    for name, place in places.items():
        if name in fields:
            entry[place] = fields[name]
    if "energy_ev" in fields:
        entry["instrument_1/source_1/energy"] = fields["energy_ev"] * JOULE_EV
    if "detector_pixel_size_m" in fields:
        for axis in "xy":
            entry[f"instrument_1/detector_1/{axis}_pixel_size"] = fields["detector_pixel_size_m"]
    if "positions_m" in fields:
        y, x = np.transpose(fields["positions_m"])
        entry["sample_1/geometry_1/translation"] = np.stack([x, y, np.zeros_like(x)], axis=1)


def write_cxi(path: Path, *entries: dict[str, Any], **changed: Any) -> Path:
    """Write a CXI file of one entry, or of one for each mapping of changes."""
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 160
        for index, entry in enumerate(entries or ({},), 1):
            write_entry(file.create_group(f"entry_{index}"), measurement(**changed, **entry))
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def zarr_metadata(**changed: Any) -> bytes:
    shape = [2, 4, 4]
    node = {
        "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "uint16", "fill_value": 0,
        "attributes": {},
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    }  # fmt: skip
    return json.dumps({**node, **changed}).encode()


@pytest.fixture
def files() -> Any:
    """The writers above, by name."""

    class Files:
        measurement = staticmethod(measurement)
        npz = staticmethod(write_npz)
        plain = staticmethod(write_plain)
        cxi = staticmethod(write_cxi)
        zip = staticmethod(write_zip)
        zarr_metadata = staticmethod(zarr_metadata)

    return Files


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    """A store with one empty dataset, ``ds_1``."""
    store = DatasetStore(tmp_path / "datasets")
    store.create("ds_1", {"title": "a particle"})
    return store


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own, on a socket in a temporary folder; its URL without a database name."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    initdb, pg_ctl = shutil.which("initdb"), shutil.which("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("no PostgreSQL server (initdb, pg_ctl) on this machine")
    # not below pytest's folder, which only its owner may enter, and short, as the name of a socket must be
    folder = Path("/tmp") / f"ptyxas-pg-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    extra: dict[str, Any] = {}
    if os.getuid() == 0:
        os.chown(folder, DEMOTED_USER, DEMOTED_USER)
        extra = {"user": DEMOTED_USER, "group": DEMOTED_USER}
    options: dict[str, Any] = {
        "check": True,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "cwd": folder,
        "timeout": 60,
    }
    data = str(folder / "data")
    try:
        subprocess.run([initdb, "-D", data, "-U", "test", "-A", "trust", "-N"], **options, **extra)
        settings = f"-k {folder} -c listen_addresses= -c fsync=off"
        subprocess.run([pg_ctl, "-D", data, "-w", "-o", settings, "-l", str(folder / "log"), "start"], **options, **extra)
        try:
            yield f"postgresql+psycopg://test@/{{}}?host={folder}"
        finally:
            subprocess.run([pg_ctl, "-D", data, "-m", "immediate", "stop"], **options, **extra)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """URL of a new, empty database of the PostgreSQL server."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    engine = create_engine(postgresql_server.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgresql_server.format(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a new, empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalogue.db"
    found: str = request.getfixturevalue("postgresql_url")
    return found
