"""Command that sends the files of a folder while a beamline writes it: follow."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from api.cli.run_options import OptionList, OptionsFile, check_options, read_options
from api.cli.submit import (
    Describe,
    Distance,
    Edge,
    Element,
    Formula,
    Group,
    Kind,
    Orientation,
    PixelSize,
    Probe,
    described,
    is_described,
    labelled,
    pixel_of,
    sha256_of,
    show_address,
)
from api.cli.terminal import Key, Url, console, plain_errors, safe, show_warning
from api.client.ptyxas import LOCAL, Client, RefusedError, UnreachableError, scan_name

commands = typer.Typer()

LOOK_S: Final = 1.0
"""Time between two looks at the folder [s]."""
Version = tuple[int, int]
"""Size [bytes] and time of the last change [ns] of a file."""


@dataclass
class FolderWatch:
    """The files of a folder that match a pattern, and which of them are complete.

    Attributes
    ----------
    folder : Path
    pattern : str
        As of ``Path.glob``; ``**/`` for folders below.
    rest_s : float
        A file is complete when its size and the time of its change have rested for so long [s].
    marker : str
        Where given, a file is complete when there is one of its name with this ending, such as ``.done``.
    """

    folder: Path
    pattern: str
    rest_s: float
    marker: str = ""
    _seen: dict[Path, tuple[Version, float]] = field(default_factory=dict)

    def complete(self, now: float) -> Iterator[tuple[Path, Version]]:
        """Files that are complete at the time ``now`` [s, of a clock that never goes back], in the order of their names."""
        for path in sorted(self.folder.glob(self.pattern)):
            if self.marker and path.name.endswith(self.marker):
                continue
            try:
                if not path.is_file():
                    continue
                status = path.stat()
            except OSError:
                continue  # gone, or not readable yet
            version = (status.st_size, status.st_mtime_ns)
            known, since = self._seen.get(path, (None, now))
            since = since if known == version else now
            self._seen[path] = (version, since)
            marked = path.with_name(path.name + self.marker).exists() if self.marker else now - since >= self.rest_s
            if marked and status.st_size > 0:
                yield path, version

    def files(self) -> Iterator[Path]:
        """All files that match, complete or not."""
        return (path for path in self.folder.glob(self.pattern) if path.is_file())

    def name_of(self, path: Path) -> str:
        """Name of a file as a scan, from its path below the folder."""
        return scan_name(path.relative_to(self.folder).as_posix())


@dataclass
class Sender:
    """Sends each complete file once, and names those that cannot be read.

    Attributes
    ----------
    client : Client
    dataset_id : str
    say : callable
        Prints a sentence.
    warn : callable
        Prints a sentence about something that is wrong.
    known : set of str
        SHA-256 [hex] of the files that the dataset held when the command started: they are not sent again.
    """

    client: Client
    dataset_id: str
    say: Callable[[str], None]
    warn: Callable[[str], None]
    known: frozenset[str] = frozenset()
    sent: dict[Path, Version] = field(default_factory=dict)
    refused: dict[Path, Version] = field(default_factory=dict)

    def send(self, path: Path, name: str, version: Version) -> None:
        """Send a file unless the service has it or has refused this version of it.

        Raises
        ------
        UnreachableError
        RefusedError
            The service cannot take it now; it may later.
        """
        if version in (self.sent.get(path), self.refused.get(path)):
            return
        try:
            if not self.known or sha256_of(path) not in self.known:
                self.client.put_scan(self.dataset_id, path, name)
                self.say(f"{path.name} sent")
        except UnreachableError:
            raise
        except RefusedError as error:
            if error.may_pass:
                raise
            self.refused[path] = version
            self.warn(f"{path.name} cannot be used and is left out: {error}")
        except OSError as error:
            self.refused[path] = version
            self.warn(f"{path.name} cannot be read and is left out until it changes: {error}")
        else:
            self.sent[path] = version


def follow_folder(
    watch: FolderWatch, sender: Sender, n_energies: int | None, tick: Callable[[], None], wait: Callable[[], None]
) -> dict[str, Any]:
    """Send files until the dataset holds ``n_energies``, without until it is sealed by others; the dataset as it then stands.

    Parameters
    ----------
    watch : FolderWatch
    sender : Sender
    n_energies : int or None
    tick : callable
        Called after every look that found the service, once the dataset holds a scan.
    wait : callable
        Waits until the next look.

    Raises
    ------
    RefusedError
        Not for the time being only: the dataset was deleted, or sealed before it held ``n_energies``.
    """
    troubled = ""
    while True:
        try:
            for path, version in watch.complete(time.monotonic()):
                sender.send(path, watch.name_of(path), version)
            dataset = sender.client.dataset(sender.dataset_id)
            if dataset["scans"]:
                tick()
            if n_energies is not None and len(dataset["scans"]) >= n_energies:
                return dataset
            if dataset["state"] == "sealed":
                return ended_by_others(dataset, n_energies)
            troubled = ""
        except (UnreachableError, RefusedError) as error:
            if isinstance(error, RefusedError) and not error.may_pass:
                raise
            if str(error) != troubled:
                sender.warn(f"{error}; trying again")
            troubled = str(error)
        wait()


def ended_by_others(dataset: dict[str, Any], n_energies: int | None) -> dict[str, Any]:
    """A dataset that somebody else sealed: the end that was waited for, unless energies were still to come."""
    if n_energies is None:
        return dataset
    counted = f"with {len(dataset['scans'])} of {n_energies} energies"
    again = "the same command sends the files to a new one"
    raise RefusedError("conflict", f"dataset {dataset['id']} was sealed meanwhile {counted} and takes no more; {again}")


def label_of(folder: Path, pattern: str) -> str:
    """Label by which the dataset of a folder is found again."""
    return "follow:" + hashlib.sha256(f"{folder.resolve()}\0{pattern}".encode()).hexdigest()[:16]


def dataset_of(
    client: Client, label: str, spec: Mapping[str, Any], files: Callable[[], Iterable[Path]], n_energies: int | None
) -> dict[str, Any]:
    """The dataset that a folder goes on with: its open one, or one that was complete before; else a new one.

    Parameters
    ----------
    client : Client
    label : str
        Of the folder, as `label_of` gives it.
    spec : mapping
        Description of a new dataset.
    files : callable
        The files of the folder. A sealed dataset goes on if it holds ``n_energies``, was made of files that are there
        still, and is described alike: nothing of it is sent again.
    n_energies : int or None
    """
    found = client.items("/datasets", 1, label=label, state="open")
    if found:
        return found[0]
    for sealed in client.items("/datasets", 1, label=label):
        is_complete = n_energies is not None and len(sealed["scans"]) >= n_energies
        made_of = {scan["sha256"] for scan in sealed["scans"]}
        if is_complete and is_described(sealed, spec) and made_of <= digests_of(files()):
            return sealed
    return client.create_dataset(labelled(spec, label))


def digests_of(files: Iterable[Path]) -> set[str]:
    """SHA-256 [hex] of the files that can be read."""
    found = set()
    for file in files:
        with suppress(OSError):
            found.add(sha256_of(file))
    return found


def finite(value: float) -> float:
    """A number that is one; `typer.BadParameter` else, for no file rests for nan seconds."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"must be a finite number, got {value}")
    return value


def below_the_folder(pattern: str) -> str:
    """A pattern of names in the folder or below it.

    Raises
    ------
    typer.BadParameter
    """
    if not pattern or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise typer.BadParameter(f"must be a pattern of names in the folder, such as '*.cxi', got {pattern!r}")
    return pattern


@commands.command()
def follow(
    folder: Annotated[Path, typer.Argument(help="Folder that is written.", exists=True, file_okay=False)],
    formula: Formula,
    pattern: Annotated[str, typer.Option(help="Names of the files; **/ for folders below.", callback=below_the_folder)] = "*",
    energies: Annotated[int | None, typer.Option(help="Energies to wait for; then the dataset is sealed.", min=1)] = None,
    rest_s: Annotated[
        float, typer.Option(help="A file is complete when it has not changed for so long.", callback=finite, min=0)
    ] = 5.0,
    marker: Annotated[str, typer.Option(help="Or when there is a file of its name with this ending, e.g. .done.")] = "",
    title: Annotated[str, typer.Option(help="Title of the dataset; by default the folder's name.")] = "",
    group: Group = "",
    kind: Kind = "diffraction",
    absorber: Element = "V",
    edge: Edge = "K",
    probe: Probe = "",
    distance_m: Distance = None,
    pixel_size_m: PixelSize = None,
    orientation: Orientation = "0",
    describe: Describe = None,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Start a live run with the first file.")] = True,
    option: OptionList = None,
    options_file: OptionsFile = None,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Send the files of a folder as they are complete, while a live run grows beside it; stopped and started, it goes on."""
    with plain_errors(), Client(url, key) as client:
        title = title or folder.resolve().name
        sample = {"name": title, "formula": formula, "group": group}
        about = {"distance_m": distance_m, **pixel_of(kind, pixel_size_m), **described(probe, orientation, describe or [])}
        spec = {"title": title, "kind": kind, "sample": sample, "absorber": {"element": absorber, "edge": edge}, **about}
        options = check_options(read_options(options_file, option or []))
        watch = FolderWatch(folder.resolve(), pattern, rest_s, marker)
        dataset = dataset_of(client, label_of(folder, pattern), spec, watch.files, energies)
        console.print(f"dataset {safe(dataset['id'])}", highlight=False)
        known = frozenset(scan["sha256"] for scan in dataset["scans"])
        sender = Sender(client, dataset["id"], lambda text: console.print(safe(text), highlight=False), show_warning, known)
        if not any(watch.folder.glob(pattern)):
            console.print(safe(f"no file in {folder} matches {pattern} yet; waiting for one"), highlight=False)
        live = LiveRun(client, dataset["id"], options) if run else None
        try:
            ended = follow_folder(watch, sender, energies, live.start if live else lambda: None, lambda: time.sleep(LOOK_S))
        except KeyboardInterrupt:
            console.print("stopped; the same command goes on from here", highlight=False)
            return
        client.seal(dataset["id"])
        console.print(f"sealed with {len(ended['scans'])} energies", highlight=False)


@dataclass
class LiveRun:
    """The run beside the folder: started once, also across restarts of the command."""

    client: Client
    dataset_id: str
    options: Mapping[str, Any]
    state: Literal["unknown", "started"] = "unknown"

    def start(self) -> None:
        """Start the run unless the dataset has one; the same request twice is one run."""
        if self.state == "started":
            return
        body = {"datasets": [self.dataset_id], "options": dict(self.options), "name": ""}
        key = f"follow-{self.dataset_id}-{hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]}"
        started = self.client.call("POST", "/runs", json=body, headers={"Idempotency-Key": key})
        self.state = "started"
        show_address(self.client, started["id"])
