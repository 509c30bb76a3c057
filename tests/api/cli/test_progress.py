"""Uploads and runs as bars."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from api.cli.client import RefusedError
from api.cli.progress import show_run, show_uploads


class FakeClient:
    def __init__(self) -> None:
        self.sent: list[str] = []

    def put_scan(self, dataset_id: str, path: Path, on_bytes: Any) -> None:
        if path.name == "bad":
            raise RefusedError("invalid-input", "no scan")
        self.sent.append(path.name)
        on_bytes(path.stat().st_size)

    def run(self, run_id: str) -> dict[str, Any]:
        stages = [
            {"name": "reconstruct", "done": 4, "total": 4, "state": "done", "note": None},
            {"name": "domains", "done": 0, "total": 0, "state": "skipped", "note": "one energy"},
        ]
        return {"state": "succeeded", "error": None, "stages": stages}

    def follow(self, run_id: str) -> Iterator[dict[str, Any]]:
        yield {"kind": "note", "text": "a worker was lost"}
        yield {"kind": "progress", "stages": self.run(run_id)["stages"]}
        yield {"kind": "end", "state": "succeeded"}


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100)


def test_every_file_is_sent(tmp_path: Path, console: Console) -> None:
    files = [tmp_path / name for name in "abcd"]
    for file in files:
        file.write_bytes(b"xyz")
    client = FakeClient()
    show_uploads(client, "ds_1", files, console)
    assert sorted(client.sent) == ["a", "b", "c", "d"]


def test_a_refused_file_is_told(tmp_path: Path, console: Console) -> None:
    (tmp_path / "bad").touch()
    with pytest.raises(RefusedError, match="no scan"):
        show_uploads(FakeClient(), "ds_1", [tmp_path / "bad"], console)


def test_a_run_is_shown_to_its_end(console: Console) -> None:
    assert show_run(FakeClient(), "run_1", console)["state"] == "succeeded"
    shown = console.file.getvalue()
    for words in ("a worker was lost", "reconstruct", "4/4", "skipped", "succeeded"):
        assert words in shown
