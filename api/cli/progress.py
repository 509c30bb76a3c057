"""Progress bars of uploads and runs."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from api.cli.terminal import safe, show_warning
from api.client.ptyxas import Client, PtyxasError

N_UPLOADS: Final = 3
"""Files sent at the same time; the service parses one while the next arrives."""


def show_uploads(client: Client, dataset_id: str, files: Sequence[Path], console: Console) -> None:
    """Send ``files`` as scans of a dataset, with a bar over all their bytes."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        scans = f"{len(files)} scan{'' if len(files) == 1 else 's'}"
        bar = progress.add_task(f"send {scans}", total=sum(file.stat().st_size for file in files))

        def on_bytes(n_bytes: int) -> None:
            progress.advance(bar, n_bytes)
            if progress.finished:
                progress.update(bar, description=f"the service reads {scans}")

        with ThreadPoolExecutor(N_UPLOADS) as pool:
            sent = [pool.submit(client.put_scan, dataset_id, file, on_bytes=on_bytes) for file in files]
            try:
                for upload in sent:
                    upload.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                discard_if_empty(client, dataset_id)
                raise


def send_dataset(client: Client, spec: dict[str, Any], files: Sequence[Path], console: Console) -> dict[str, Any]:
    """Create a dataset, send its files with a bar over all their bytes, and seal it; returns it as sealed."""
    dataset = client.create_dataset(spec)
    show_uploads(client, dataset["id"], files, console)
    return client.seal(dataset["id"])


def discard_if_empty(client: Client, dataset_id: str) -> None:
    """Delete a dataset of which no scan was taken; of one that holds some, say that it is left."""
    with suppress(PtyxasError):  # the reason why the upload ended is told, not this one
        if client.dataset(dataset_id)["scans"]:
            show_warning(
                f"dataset {dataset_id} is left open with the scans that were taken; `ptyxas delete {dataset_id}` removes it"
            )
        else:
            client.delete(dataset_id)


def show_run(client: Client, run_id: str, console: Console) -> dict[str, Any]:
    """Follow a run to its end with a bar for each stage; returns its last state."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        bars: dict[str, TaskID] = {}
        draw_stages(progress, bars, client.run(run_id)["stages"])
        before = ""
        for event in client.follow(run_id):
            if event["kind"] == "progress":
                draw_stages(progress, bars, event["stages"])
            elif event["kind"] == "note" or (event["kind"] == "interrupted" and before != "interrupted"):
                progress.console.print(f"[yellow]{safe(event['text'])}[/]", highlight=False)
            before = event["kind"]
        ended = client.run(run_id)
        draw_stages(progress, bars, ended["stages"])
    colour = "green" if ended["state"] == "succeeded" else "red"
    reason = f": {safe(ended['error'])}" if ended["error"] else ""
    for stage in ended["stages"]:
        if stage["state"] == "skipped":
            console.print(f"{stage['name']} skipped: {safe(stage['note'])}", highlight=False, soft_wrap=True)
    console.print(f"[{colour}]{ended['state']}[/]{reason}", highlight=False, soft_wrap=True)
    return ended


def draw_stages(progress: Progress, bars: dict[str, TaskID], stages: Sequence[dict[str, Any]]) -> None:
    """Update the bars of a run's stages; what is skipped has none."""
    for stage in stages:
        if stage["state"] == "skipped":
            continue
        if stage["name"] not in bars:
            bars[stage["name"]] = progress.add_task(stage["name"], total=None)
        progress.update(bars[stage["name"]], completed=stage["done"], total=stage["total"] or None)
