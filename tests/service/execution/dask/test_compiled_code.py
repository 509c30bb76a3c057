import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.execution.dask import compiled_code
from service.execution.dask.compiled_code import compiled_code_environment

FOLDER, LEAST = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"

COMPILE_TWICE = """
import jax
import jax.monitoring

hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None)
for _ in range(2):
    jax.jit(lambda x: jax.numpy.fft.fft2(x) * 2)(jax.numpy.ones((8, 8))).block_until_ready()
    jax.clear_caches()
print(len(hits))
"""


@pytest.fixture(autouse=True)
def without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests share a folder of their own, as an operator might."""
    monkeypatch.delenv(FOLDER)
    monkeypatch.delenv(LEAST, raising=False)


def test_an_operators_own_folder_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FOLDER, "/scratch/jax")
    assert compiled_code_environment(tmp_path) == {}


def test_each_kind_of_processor_has_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = Path(compiled_code_environment(tmp_path)[FOLDER])
    assert here.parent == tmp_path
    assert compiled_code_environment(tmp_path)[FOLDER] == str(here)
    monkeypatch.setattr(compiled_code, "_processor", lambda: "flags: fpu vme")
    assert compiled_code_environment(tmp_path)[FOLDER] != str(here)


def test_jax_finds_there_what_it_compiled_and_compiles_again_what_is_damaged(tmp_path: Path) -> None:
    environment = os.environ | compiled_code_environment(tmp_path) | {LEAST: "0"}
    command = [sys.executable, "-c", COMPILE_TWICE]
    assert int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout) >= 1
    kept = list(tmp_path.rglob("*-cache"))
    assert kept
    for number, path in enumerate(kept):
        path.write_bytes((b"", b"not machine code")[number % 2])
    subprocess.run(command, env=environment, capture_output=True, check=True)
