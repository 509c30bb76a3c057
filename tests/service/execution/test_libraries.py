"""What a worker loads while it has nothing to do."""

import gc
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from service.execution.libraries import finish_import, load_ahead, pass_over_loaded

ROOT = Path(__file__).resolve().parents[3]
LOADED_AHEAD = """
import sys
from service.execution.libraries import load_ahead
load_ahead(lambda: False)
before = set(sys.modules)
from tasks.coupling.spectra import align, impose
from tasks.coupling.outliers import coupling_warnings
from tasks.ptycho.driver import run
from tasks.xanes.batch import fit_model
from tasks.xanes.models import spectrum_model
from tasks.xanes.model_check import model_warnings
from tasks.chemistry import chemistry_maps
from tasks.domains.borders import settle_borders
from tasks.domains.profile import densities
from tasks.figures.gallery import figure_list
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
print(*sorted({name.partition(".")[0] for name in before}))
"""


def test_modules_are_loaded_once_nothing_is_computed_and_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}_ahead.py").write_text("import busy_ahead\nbusy_ahead.loaded.append(__name__)\n")
    (tmp_path / "busy_ahead.py").write_text("loaded = []\n")
    monkeypatch.syspath_prepend(tmp_path)
    import busy_ahead  # type: ignore[import-not-found]

    looks = iter([True, True, False, True, False])
    seen: list[list[str]] = []

    def is_busy() -> bool:
        seen.append(list(busy_ahead.loaded))
        return next(looks)

    load_ahead(is_busy, modules=["first_ahead", "second_ahead"])
    assert seen == [[], [], [], ["first_ahead"], ["first_ahead"]]
    assert busy_ahead.loaded == ["first_ahead", "second_ahead"]


def test_a_step_waits_for_the_module_under_way_and_no_other_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = tmp_path / "go_on"
    (tmp_path / "slow_ahead.py").write_text(
        f"import os, time\nwhile not os.path.exists({str(go_on)!r}):\n    time.sleep(0.01)\nis_whole = True\n"
    )
    (tmp_path / "next_ahead.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    computes = threading.Event()
    thread = threading.Thread(target=load_ahead, args=(computes.is_set,), kwargs={"modules": ["slow_ahead", "next_ahead"]})
    thread.start()
    while "slow_ahead" not in sys.modules:
        time.sleep(0.01)
    computes.set()
    threading.Timer(0.2, go_on.touch).start()
    finish_import()
    assert sys.modules["slow_ahead"].is_whole
    time.sleep(0.3)
    assert "next_ahead" not in sys.modules
    computes.clear()
    thread.join(timeout=30)
    assert "next_ahead" in sys.modules


def test_nothing_is_loaded_that_there_is_no_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("small", "large"):
        (tmp_path / f"{name}_ahead.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    answers = iter([True, False])
    load_ahead(lambda: False, lambda: next(answers), ["small_ahead", "large_ahead", "large_ahead"])
    assert "small_ahead" in sys.modules
    assert "large_ahead" not in sys.modules


def test_what_cannot_be_loaded_is_left_to_the_step_that_needs_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_ahead(lambda: False, modules=["no_such_library", "string"])
    assert "no_such_library cannot be loaded ahead: No module named 'no_such_library'" in caplog.text


def test_no_library_is_left_that_a_run_would_wait_for() -> None:
    command = [sys.executable, "-c", LOADED_AHEAD]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout.splitlines()
    left, loaded = (line.split() for line in output)
    assert {"jax", "numba", "scipy", "sklearn", "matplotlib", "xraydb", "zarr"} <= set(loaded)
    assert set(left) <= {"tasks"}
    assert "dask_ml" not in loaded


def test_no_collection_looks_at_what_is_loaded_until_all_is_given_back() -> None:
    before = gc.get_freeze_count()
    try:
        pass_over_loaded()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
    assert gc.get_freeze_count() == 0
