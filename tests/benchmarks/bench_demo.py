"""What the demonstration takes, phase by phase: time, and processor time of the command, the readers of files and the workers.

Run it as a script. Phases end with steps of the run, which their manifests tell, and with files; processor time is looked at five
times a second. The time of a phase is that of the machine: state what else it did.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Final

import psutil

LOOK_S: Final = 0.2
Look = tuple[float, defaultdict[str, float]]
"""A time [s since 1970], and the processor time [s] until then by kind of process."""


def kind_of(process: psutil.Process, command: int) -> str:
    """What a process of the demonstration does."""
    if process.pid == command:
        return "command"
    words = " ".join(process.cmdline())
    return "readers" if "forkserver" in words else "workers" if "spawn_main" in words else "others"


def play(folder: Path, flags: list[str]) -> tuple[float, list[Look]]:
    """Run the demonstration; when it began [s since 1970], and all looks at its processes."""
    begun = time.time()
    words = [sys.executable, "-m", "api.cli", "demo", "--folder", str(folder), *flags]
    command = subprocess.Popen(words)
    kinds: dict[int, str] = {}
    spent: dict[int, float] = {}
    looks: list[Look] = []
    while command.poll() is None:
        try:
            processes = [psutil.Process(command.pid), *psutil.Process(command.pid).children(recursive=True)]
        except psutil.Error:
            break
        for process in processes:
            try:
                if process.pid not in kinds:
                    kinds[process.pid] = kind_of(process, command.pid)
                times = process.cpu_times()
            except psutil.Error:  # it ended meanwhile
                continue
            spent[process.pid] = times.user + times.system
        total: defaultdict[str, float] = defaultdict(float)
        for pid, seconds in spent.items():
            total[kinds[pid]] += seconds
        looks.append((time.time(), total))
        time.sleep(LOOK_S)
    if command.wait() != 0:
        raise SystemExit("the demonstration failed")
    return begun, looks


def phases(folder: Path) -> list[tuple[str, float]]:
    """The phases, and when each ended [s since 1970]."""
    ends: dict[str, list[float]] = {}
    for manifest in folder.glob("data/units/*/[!.]*/manifest.json"):
        step = json.loads(manifest.read_text())["step"]
        ends.setdefault(step["attributes"]["stage"], []).append(step["finished"])
        if step["attributes"]["stage"] == "reconstruct":
            ends.setdefault("begin", []).append(step["finished"] - step["attributes"]["seconds"])
    scans = [file.stat().st_mtime for file in folder.glob("scans/*.cxi")]
    stored = [file.stat().st_ctime for file in folder.glob("data/datasets/*/scans/*/zarr.json")]
    return [
        ("simulated", max(scans)),
        ("first scan stored", min(stored)),
        ("all scans stored", max(stored)),
        ("run begun", min(ends["begin"])),
        ("reference", min(ends["reconstruct"])),
        ("other energies", max(ends["reconstruct"])),
        ("spectra", max(ends["spectra"])),
        ("maps", max(ends["maps"])),
        ("domains", max(ends["domains"])),
        ("results", max(ends["results"])),
        ("figures", max(ends["figures"])),
    ]


def show(begun: float, looks: list[Look], ended: list[tuple[str, float]]) -> None:
    """Print a table: when each phase ended, and what it took."""
    kinds = sorted(looks[-1][1])

    def spent_until(moment: float) -> defaultdict[str, float]:
        return max((look for look in looks if look[0] <= moment), key=lambda look: look[0], default=looks[0])[1]

    print(f"{'phase':20}{'until, s':>9}{'took, s':>9}" + "".join(f"{kind:>9}" for kind in kinds) + "   processor time, s")
    marks = [("", begun), *sorted(ended, key=lambda one: one[1]), ("command ended", looks[-1][0])]
    before: defaultdict[str, float] = defaultdict(float)
    for (_, since), (name, until) in pairwise(marks):
        now = spent_until(until)
        parts = "".join(f"{now[kind] - before[kind]:9.1f}" for kind in kinds)
        print(f"{name:20}{until - begun:9.1f}{until - since:9.1f}{parts}")
        before = now
    parts = "".join(f"{looks[-1][1][kind]:9.1f}" for kind in kinds)
    print(f"{'all':20}{looks[-1][0] - begun:9.1f}{'':9}{parts}   together {sum(looks[-1][1].values()):.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    _, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        begun, looks = play(Path(folder) / "demo", flags)
        show(begun, looks, phases(Path(folder) / "demo"))


if __name__ == "__main__":
    main()
