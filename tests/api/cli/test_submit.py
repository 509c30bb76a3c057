"""submit and watch, as far as they need no service."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

from api.app import create_app
from api.cli.submit import (
    check_energies,
    described,
    labelled,
    pixel_of,
    read_probe,
    spec_label,
    stored_dataset,
)
from api.client.ptyxas import Client
from service.settings import Settings
from tasks.scattering import Absorber


def test_a_dataset_is_described_by_flags_and_by_names_of_the_api() -> None:
    more = ["bad_frames=leave_out", "n_pixels=128", "beam_centre_px=[60, 64.5]"]
    found = described('{"kind": "kb"}', "auto", more)
    assert found.pop("probe") == {"kind": "kb"}
    assert found == {"orientation": "auto", "bad_frames": "leave_out", "n_pixels": 128, "beam_centre_px": [60, 64.5]}
    assert described("", "3", []) == {"probe": None, "orientation": 3}
    assert (pixel_of("images", 2e-8), pixel_of("diffraction", None)) == ({"pixel_size_m": 2e-8}, {"detector_pixel_size_m": None})
    for text in ("n_pixels", "=128"):
        with pytest.raises(ValueError, match="name=value"):
            described("", "0", [text])


def test_labels_that_are_stated_stay_beside_that_by_which_a_dataset_is_found_again() -> None:
    spec = {"title": "p", **described("", "0", ['labels=["I08", "cathode"]'])}
    assert labelled(spec, "follow:1")["labels"] == ["I08", "cathode", "follow:1", spec_label(spec)]
    assert labelled({"title": "p"})["labels"] == [spec_label({"title": "p"})]
    assert labelled({"labels": "I08"})["labels"] == "I08", "the service says what is wrong with it"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[kkr\n", b"cycles = 3\n", b"preset = {a = 1}\n"])
def test_a_file_of_options_that_cannot_be_is_told_as_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.toml").write_bytes(content)
    (tmp_path / "a.cxi").write_bytes(b"x")
    code, shown = run("submit", str(tmp_path / "a.cxi"), "--formula", "LiVO2", "--options", str(tmp_path / "run.toml"))
    assert code in (1, 2)
    assert "run.toml" in shown or "preset" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("preset.x=1", "stage.name=value"), ("=", "stage.name=value"), ("kkr.=1", "stage.name=value"), ("kkr.gamma", "stage"),
        ("reconstruct.cycles=1e999", "reconstruct.cycles"), ("kkr.gamma=NaN", "kkr.gamma"), ("preset=nothing", "preset"),
        ("kkr.mode=" + "[" * 50_000, "kkr.mode"), ("reconstruct.seed=" + "9" * 5000, "reconstruct.seed"), (".a=1", ""),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_is_told_as_a_sentence(tmp_path: Path, given: str, words: str) -> None:
    (tmp_path / "a.cxi").write_bytes(b"x")
    code, shown = run("submit", str(tmp_path / "a.cxi"), "--formula", "LiVO2", "-o", given, "--url", "http://127.0.0.1:9")
    assert code in (1, 2), shown[-300:]
    assert words in shown
    assert "Traceback" not in shown
    assert "no service answers" not in shown


@pytest.mark.parametrize(
    "flags",
    [
        ["--distance-m", "nan"], ["--pixel-size-m", "inf"], ["--absorber", "Xx"], ["--edge", "\x1b[2J"], ["--title", "\udcff"],
        ["--orientation", "9" * 5000], ["--probe", "[" * 50_000], ["--reference", "FILE"], ["--foil", "FILE"],
        ["--url", "http://["], ["--url", "x"], ["--url", ""],
    ],
)  # fmt: skip
def test_a_flag_that_cannot_be_is_told_as_a_sentence(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "a.cxi").write_bytes(b"x")
    given = [str(tmp_path / "a.cxi") if one == "FILE" else one for one in flags]
    code, shown = run("submit", str(tmp_path / "a.cxi"), "--formula", "LiVO2", "--url", "http://127.0.0.1:9", *given)
    assert code in (1, 2)
    assert shown.strip()
    assert "Traceback" not in shown
    assert "\x1b[2J" not in shown


def test_a_probe_is_read_from_json() -> None:
    assert read_probe('{"kind": "kb", "fwhm_m": 3e-7}') == {"kind": "kb", "fwhm_m": 3e-7}


@pytest.mark.parametrize("probe", ["{kind: kb}", "kb", "[1]", '"kb"', "3", '{"kind": "kb"'])
def test_a_probe_that_is_no_json_object_is_told_as_a_sentence(tmp_path: Path, probe: str) -> None:
    (tmp_path / "a.cxi").write_bytes(b"x")
    code, shown = run("submit", str(tmp_path / "a.cxi"), "--formula", "LiVO2", "--probe", probe, "--url", "http://127.0.0.1:9")
    assert code == 1
    assert "--probe must be a JSON object" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("command", [["watch", "run_1"], ["submit", "FILE", "--formula", "LiVO2"]])
def test_a_service_that_does_not_answer_is_told_as_a_sentence(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "a.cxi").write_bytes(b"x")
    arguments = [str(tmp_path / "a.cxi") if word == "FILE" else word for word in command]
    code, shown = run(*arguments, "--url", "http://127.0.0.1:9")
    assert code == 1
    assert "no service answers at http://127.0.0.1:9" in shown
    assert "Traceback" not in shown


def write_scans(folder: Path, energies_ev: Iterable[float]) -> list[Path]:
    """Small NPZ files, one an energy."""
    files = []
    for number, energy_ev in enumerate(energies_ev):
        files.append(folder / f"s{number}.npz")
        np.savez(files[-1], counts=np.ones((4, 8, 8), np.uint16), positions_m=np.zeros((4, 2)), energy_ev=energy_ev)
    return files


@pytest.mark.parametrize(
    ("energies_ev", "words"),
    [
        ([5420.0, 5430.0, 5420.002], "s0.npz and s2.npz were measured at the same energy"),
        ([5420.0, 5430.0], "needs? at least 10"),
        (np.linspace(5420, 5460, 12), "does not enclose the V K edge"),
    ],
)
def test_energies_that_cannot_make_a_run_are_refused_before_anything_is_sent(
    tmp_path: Path, energies_ev: Iterable[float], words: str
) -> None:
    files = write_scans(tmp_path, energies_ev)
    with pytest.raises(ValueError, match=words):
        check_energies(files, Absorber())
    code, shown = run("submit", *map(str, files), "--formula", "LiVO2", "--url", "http://127.0.0.1:9")
    assert (code, "no service answers" in shown) == (1, False)


def test_what_cannot_be_read_here_is_left_to_the_service(tmp_path: Path) -> None:
    (tmp_path / "a.cxi").write_bytes(b"x")
    check_energies([tmp_path / "a.cxi"], Absorber())
    check_energies(write_scans(tmp_path, np.linspace(5420, 5540, 12)), Absorber())
    check_energies(write_scans(tmp_path, [5420.0]), Absorber())


def test_files_that_the_service_has_are_found_by_their_bytes_and_their_description(
    tmp_path: Path, serve: Any, quiet_service: Any
) -> None:
    """A real service, which tells of a sealed dataset what its files state as well."""
    sample = {"name": "p", "formula": "LiVO2", "group": ""}
    spec = {"title": "p", "sample": sample, "absorber": {"element": "V", "edge": "K"}, "distance_m": None, "probe": None}
    y, x = (axis.ravel() * 1e-7 for axis in np.meshgrid(np.arange(4), np.arange(4), indexing="ij"))
    files = [tmp_path / name for name in ("a.npz", "b.npz")]
    for number, file in enumerate(files):
        counts = np.random.default_rng(number).poisson(50, (16, 32, 32)).astype(np.uint16)
        stated = {"energy_ev": 5420.0 + number, "distance_m": 0.5, "detector_pixel_size_m": 75e-6}
        np.savez(file, counts=counts, positions_m=np.stack([y, x], axis=1), **stated)  # type: ignore[arg-type]
    settings = Settings(data_dir=tmp_path / "data", min_free_bytes=0)
    with serve(create_app(quiet_service(settings))) as url, Client(url) as service:
        made = service.create_dataset({**spec, "labels": [spec_label(spec)]})["id"]
        for file in files:
            service.put_scan(made, file)
        assert stored_dataset(service, spec, files) is None, "it is not sealed"
        assert service.seal(made)["distance_m"] == 0.5
        found = stored_dataset(service, spec, files)
        assert found is not None
        assert found["id"] == made
        assert stored_dataset(service, spec, files[:1]) is None
        assert stored_dataset(service, spec | {"n_pixels": 16}, files) is None, "its frames would be cropped"
        assert stored_dataset(service, spec | {"absorber": {"element": "Fe", "edge": "K"}}, files) is None
        assert stored_dataset(service, spec | {"probe": {"kind": "kb"}}, files) is None
        service.call("PATCH", f"/datasets/{made}", json={"sample": {"group": "another"}})
        assert stored_dataset(service, spec, files) is None, "its description was changed"


def test_a_pipe_or_a_device_is_refused_before_it_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        code, shown = run("submit", path, "--formula", "LiVO2", "--url", "http://127.0.0.1:1")
        assert code == 1
        assert "is it a pipe or a device?" in shown
