"""Progress bars of uploads and runs."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from api.cli.progress import show_run, show_uploads
from api.client.ptyxas import Client, RefusedError


class FakeClient(Client):
    """A client whose service accepts every file but ``bad``, and has one finished run."""

    def __init__(self, text: str = "a worker was lost") -> None:
        super().__init__("http://service")
        self.sent: list[str] = []
        self.deleted: list[str] = []
        self.text = text

    def put_scan(
        self, dataset_id: str, path: Path, name: str | None = None, on_bytes: Callable[[int], None] = lambda n: None
    ) -> dict[str, Any]:
        if path.name == "bad":
            raise RefusedError("invalid-input", "no scan")
        self.sent.append(path.name)
        on_bytes(path.stat().st_size)
        return {}

    def dataset(self, dataset_id: str) -> dict[str, Any]:
        return {"scans": self.sent}

    def delete(self, item_id: str) -> None:
        self.deleted.append(item_id)

    def run(self, run_id: str) -> dict[str, Any]:
        stages = [
            {"name": "reconstruct", "done": 4, "total": 4, "state": "done", "note": None},
            {"name": "domains", "done": 0, "total": 0, "state": "skipped", "note": "one energy"},
        ]
        return {"state": "succeeded", "error": None, "stages": stages}

    def follow(self, run_id: str) -> Iterator[dict[str, Any]]:
        yield {"kind": "note", "text": self.text}
        yield {"kind": "progress", "stages": self.run(run_id)["stages"]}
        yield {"kind": "end", "state": "succeeded"}


@pytest.fixture
def shown() -> io.StringIO:
    """What was printed."""
    return io.StringIO()


@pytest.fixture
def console(shown: io.StringIO) -> Console:
    return Console(file=shown, width=100)


def test_every_file_is_sent(tmp_path: Path, console: Console) -> None:
    files = [tmp_path / name for name in "abcd"]
    for file in files:
        file.write_bytes(b"xyz")
    client = FakeClient()
    show_uploads(client, "ds_1", files, console)
    assert sorted(client.sent) == ["a", "b", "c", "d"]


def test_a_refused_file_is_an_error(tmp_path: Path, console: Console) -> None:
    (tmp_path / "bad").touch()
    (tmp_path / "good").touch()
    client = FakeClient()
    with pytest.raises(RefusedError, match="no scan"):
        show_uploads(client, "ds_1", [tmp_path / "bad"], console)
    assert client.deleted == ["ds_1"], "nothing was taken"
    with pytest.raises(RefusedError, match="no scan"):
        show_uploads(client, "ds_2", [tmp_path / "good", tmp_path / "bad"], console)
    assert client.deleted == ["ds_1"]


def test_a_run_is_shown_to_its_end(console: Console, shown: io.StringIO) -> None:
    assert show_run(FakeClient(), "run_1", console)["state"] == "succeeded"
    for words in ("a worker was lost", "reconstruct", "4/4", "domains skipped: one energy", "succeeded"):
        assert words in shown.getvalue()


@pytest.mark.parametrize("text", ["[/]", "[bold]", "[/red] of [x]", "[link=file:///etc/passwd]here"])
def test_texts_of_the_service_are_no_markup(console: Console, shown: io.StringIO, text: str) -> None:
    show_run(FakeClient(text), "run_1", console)
    assert text in shown.getvalue()


def test_an_interruption_is_told_once(console: Console, shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient()
    away = [{"kind": "interrupted", "text": f"no service ({number})"} for number in range(3)]
    events = [*away, {"kind": "note", "text": "goes on"}, *away[:1]]
    monkeypatch.setattr(client, "follow", lambda run_id: iter(events))
    show_run(client, "run_1", console)
    assert [shown.getvalue().count(f"no service ({number})") for number in range(3)] == [2, 0, 0]
