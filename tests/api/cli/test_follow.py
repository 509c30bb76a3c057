"""follow: which files are complete, what is sent once, and a folder that is written while the command is killed."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from command_line import run

from api.app import create_app
from api.cli.follow import FolderWatch, Sender, dataset_of, follow_folder, label_of
from api.cli.submit import labelled
from api.client.ptyxas import RefusedError, UnreachableError
from service.settings import Settings

N_ENERGIES = 20
BROKEN = 7
PTYXAS = Path(sys.executable).with_name("ptyxas")


class FakeClient:
    """A service that knows the scans it took; ``refuses`` maps a name to the codes of its first answers."""

    def __init__(self, **refuses: list[str]) -> None:
        self.scans: list[str] = []
        self.refuses = refuses
        self.state = "open"

    def put_scan(self, dataset_id: str, path: Path, name: str) -> None:
        content = path.read_bytes()
        if self.refuses.get(path.stem):
            code = self.refuses[path.stem].pop(0)
            refused = RefusedError(code, "the reason", may_pass=code in ("storage-full", "busy", "unknown"))
            raise UnreachableError("no service answers") if code == "away" else refused
        if name not in self.scans:
            self.scans.append(name)
        assert content

    def dataset(self, dataset_id: str) -> dict[str, Any]:
        return {"id": dataset_id, "scans": self.scans, "state": self.state}


def followed(
    folder: Path,
    client: FakeClient,
    n: int | None,
    write: Callable[[int], object] = lambda look: None,
    known: frozenset[str] = frozenset(),
) -> tuple[list[str], list[int]]:
    """Follow a folder to ``n`` energies; what was warned of, and at which looks a scan was there."""
    warned: list[str] = []
    looks: list[int] = [0]
    ticks: list[int] = []

    def wait() -> None:
        looks[0] += 1
        assert looks[0] < 50, f"does not end: {client.scans}, {warned}"
        write(looks[0])

    sender = Sender(client, "ds_1", lambda text: None, warned.append, known)  # type: ignore[arg-type]
    follow_folder(FolderWatch(folder, "*.cxi", 0.0), sender, n, lambda: ticks.append(looks[0]), wait)
    return warned, ticks


def test_a_file_is_complete_when_it_rests(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path, "*.cxi", rest_s=5)
    path = tmp_path / "a.cxi"
    path.write_bytes(b"half")
    (tmp_path / "b.txt").write_bytes(b"not asked for")
    (tmp_path / "empty.cxi").touch()
    assert list(watch.complete(0)) == []
    path.write_bytes(b"all of it")
    assert list(watch.complete(4)) == []
    assert list(watch.complete(8)) == [], "it changed at 4 s"
    assert [found.name for found, _ in watch.complete(9)] == ["a.cxi"]


def test_a_file_is_complete_when_its_marker_is_there(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path, "*", rest_s=5, marker=".done")
    (tmp_path / "a.cxi").write_bytes(b"x")
    assert list(watch.complete(100)) == []
    (tmp_path / "a.cxi.done").touch()
    assert [found.name for found, _ in watch.complete(100)] == ["a.cxi"]


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/b c.cxi", "a_b_c.cxi"), ("-x.cxi", "x.cxi"), ("µ.h5", "h5"), ("µ/試料_5420.h5", "5420.h5"), ("..h5", "h5")],
)
def test_names_of_scans_have_the_characters_that_they_may(tmp_path: Path, path: str, name: str) -> None:
    assert FolderWatch(tmp_path, "**/*", 0).name_of(tmp_path / path) == name


def test_what_cannot_be_used_is_named_once_and_the_rest_goes_on(tmp_path: Path) -> None:
    for stem in ("a", "broken", "c"):
        (tmp_path / f"{stem}.cxi").write_bytes(b"x")
    warned, ticks = followed(
        tmp_path, FakeClient(broken=["invalid-input"] * 9), 3, lambda look: (tmp_path / "d.cxi").write_bytes(b"x")
    )
    assert warned == ["broken.cxi cannot be used and is left out: the reason"]
    assert ticks[0] == 0, "a run can start with the first scan"


def test_a_file_that_was_broken_is_tried_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.cxi"
    path.write_bytes(b"half")
    client = FakeClient(a=["invalid-input"])
    warned, _ = followed(tmp_path, client, 1, lambda look: path.write_bytes(b"whole now"))
    assert (client.scans, len(warned)) == (["a.cxi"], 1)


@pytest.mark.parametrize("code", ["away", "storage-full", "busy", "unknown"])
def test_what_passes_is_waited_for_and_told_once(tmp_path: Path, code: str) -> None:
    (tmp_path / "a.cxi").write_bytes(b"x")
    client = FakeClient(a=[code] * 5)
    warned, _ = followed(tmp_path, client, 1)
    assert client.scans == ["a.cxi"]
    assert [text.endswith("; trying again") for text in warned] == [True]


def test_what_the_service_has_already_is_not_sent_again(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        (tmp_path / f"{stem}.cxi").write_bytes(stem.encode())
    client = FakeClient()
    followed(tmp_path, client, 1, known=frozenset([hashlib.sha256(b"a").hexdigest()]))
    assert client.scans == ["b.cxi"]


def test_a_dataset_that_others_seal_ends_what_follows_it(tmp_path: Path) -> None:
    (tmp_path / "a.cxi").write_bytes(b"a")
    client = FakeClient()
    assert followed(tmp_path, client, None, lambda look: setattr(client, "state", "sealed"))[0] == []
    client = FakeClient()
    with pytest.raises(RefusedError, match="sealed meanwhile with 1 of 3 energies and takes no more"):
        followed(tmp_path, client, 3, lambda look: setattr(client, "state", "sealed"))


class FakeCatalogue:
    """A service that knows one dataset, sealed with one scan."""

    def __init__(self, spec: dict[str, Any], content: bytes) -> None:
        self.sealed = {**labelled(spec, "follow:1"), "id": "ds_1", "scans": [{"sha256": hashlib.sha256(content).hexdigest()}]}

    def items(self, path: str, limit: int, state: str | None = None, **query: str) -> list[dict[str, Any]]:
        return [] if state == "open" else [self.sealed]

    def create_dataset(self, spec: dict[str, Any]) -> dict[str, Any]:
        return {**spec, "id": "ds_new"}


def test_a_folder_goes_on_with_what_it_completed_whatever_else_lies_in_it(tmp_path: Path) -> None:
    spec = {"title": "p", "sample": {"formula": "LiVO2"}}
    (tmp_path / "a.cxi").write_bytes(b"a")
    (tmp_path / "gone.cxi").symlink_to(tmp_path / "nowhere")
    client: Any = FakeCatalogue(spec, b"a")
    assert dataset_of(client, "follow:1", spec, lambda: sorted(tmp_path.iterdir()), 1)["id"] == "ds_1"
    for files, n_energies, title in (([], 1, "p"), (list(tmp_path.iterdir()), 2, "p"), (list(tmp_path.iterdir()), 1, "q")):
        assert dataset_of(client, "follow:1", {**spec, "title": title}, lambda: files, n_energies)["id"] == "ds_new"  # noqa: B023


def test_two_folders_have_two_labels(tmp_path: Path) -> None:
    labels = {label_of(tmp_path, "*.cxi"), label_of(tmp_path / "b", "*.cxi"), label_of(tmp_path, "*.h5")}
    assert len(labels) == 3
    assert all(len(label) <= 64 for label in labels)


@pytest.fixture
def served(tmp_path: Path, serve: Any, quiet_service: Any) -> Iterator[str]:
    """A real service without a cluster."""
    with serve(create_app(quiet_service(Settings(data_dir=tmp_path / "data", min_free_bytes=0)))) as url:
        yield url


def write_scan(folder: Path, index: int) -> None:
    """Write energy ``index`` in two halves, as a detector does; that of `BROKEN` is cut off."""
    y, x = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    path = folder / f"scan_{index:03d}.npz"
    whole = path.with_suffix(".tmp")
    with whole.open("wb") as file:
        np.savez(
            file,
            counts=np.random.default_rng(index).poisson(50, (16, 32, 32)).astype(np.uint16),
            positions_m=np.stack([y.ravel(), x.ravel()], axis=1) * 100e-9,
            energy_ev=np.array(5420.0 + 6 * index),
            distance_m=np.array(0.5),
            detector_pixel_size_m=np.array(75e-6),
        )
    content = whole.read_bytes()
    whole.unlink()
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(0.02)
        file.write(b"" if index == BROKEN else content[len(content) // 2 :])


def test_a_folder_that_is_written_while_the_command_is_killed(tmp_path: Path, served: str) -> None:
    folder = tmp_path / "beamline"
    folder.mkdir()
    command = [
        str(PTYXAS), "follow", str(folder), "--formula", "LiVO2", "--pattern", "*.npz", "--rest-s", "0.5",
        "--energies", str(N_ENERGIES - 1), "--url", served,
    ]  # fmt: skip
    environment = os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "300"}
    with httpx.Client(base_url=f"{served}/api/v1", timeout=60) as http:

        def n_scans() -> int:
            items = http.get("/datasets").json()["items"]
            return len(items[0]["scans"]) if items else 0

        order = [0, 1, 3, 2, *range(4, 12), 13, 12, *range(14, N_ENERGIES)]
        first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for index in order[:10]:
            write_scan(folder, index)
        until = time.monotonic() + 120
        while n_scans() < 3:
            assert time.monotonic() < until
            time.sleep(0.1)
        first.send_signal(signal.SIGKILL)
        seen = first.communicate()[0]
        for index in order[10:]:
            write_scan(folder, index)
        second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert second.returncode == 0, second.stdout + second.stderr
        again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert again.returncode == 0, again.stdout + again.stderr
        assert (" sent" in again.stdout, f"sealed with {N_ENERGIES - 1} energies" in again.stdout) == (False, True)
        assert "scan_000.npz sent" in seen
        assert "scan_000.npz sent" not in second.stdout, "it was sent before the command was killed"
        (dataset,) = http.get("/datasets").json()["items"]
        runs = http.get("/runs").json()["items"]
    assert dataset["state"] == "sealed"
    assert [scan["energy_ev"] for scan in dataset["scans"]] == [5420.0 + 6 * i for i in range(N_ENERGIES) if i != BROKEN]
    assert [run["datasets"] for run in runs] == [[dataset["id"]]], "one live run"
    assert "scan_007.npz cannot be used" in second.stderr


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--rest-s", "nan", "finite"),
        ("--rest-s", "inf", "finite"),
        ("--pattern", "", "names in the folder"),
        ("--pattern", "/data/*.cxi", "names in the folder"),
        ("--pattern", "../*", "names in the folder"),
    ],
)
def test_what_nothing_could_be_followed_by_is_refused(tmp_path: Path, option: str, value: str, rule: str) -> None:
    code, shown = run("follow", tmp_path, "--formula", "LiVO2", option, value)
    assert code == 2
    assert rule in " ".join(shown.split())
