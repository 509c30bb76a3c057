"""The web page in a real browser: what the script does, seen through Chromium's DevTools."""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import httpx
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip


class Tab:
    """A page in the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=20)
            if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.complaints.append(message["params"]["entry"]["text"])
            if message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]["exceptionDetails"]))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    async def value(self, expression: str) -> Any:
        result = await self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str, timeout_s: float = 15.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not await self.value(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                text = await self.value("document.body.innerText")
                pytest.fail(f"never came true: {expression}\n{text}\n{self.complaints}")
            await asyncio.sleep(0.05)

    async def open(self, url: str) -> None:
        await self.command("Page.enable")
        await self.command("Log.enable")
        await self.command("Runtime.enable")
        await self.command("Page.navigate", url=url)
        await self.until(f"document.readyState === 'complete' && location.href.startsWith({url!r})")


Play = Callable[[str, Callable[[Tab], Awaitable[None]]], None]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a browser's DevTools."""
    assert CHROMIUM is not None
    profile = tmp_path_factory.mktemp("profile")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    port = profile / "DevToolsActivePort"
    deadline = time.monotonic() + 60
    while not (port.exists() and port.read_text().strip()):
        assert process.poll() is None, "Chromium ended at once"
        assert time.monotonic() < deadline, "Chromium did not start"
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port.read_text().split()[0]}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=20)


@pytest.fixture
def play(browser: str) -> Play:
    """Opens an address in a tab of its own and plays a scene there; the page must not complain."""

    async def perform(url: str, scene: Callable[[Tab], Awaitable[None]]) -> None:
        async with aiohttp.ClientSession() as session:
            async with session.put(f"{browser}/json/new?about:blank") as answer:
                target = await answer.json()
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                await tab.open(url)
                await scene(tab)
                await tab.value("1")
            await (await session.get(f"{browser}/json/close/{target['id']}")).read()
        assert tab.complaints == []

    return lambda url, scene: asyncio.run(perform(url, scene))


def test_maps_are_shown_one_after_another(play: Play, client: httpx.Client, finished: dict[str, Any]) -> None:
    client.put(f"/api/v1/datasets/{finished['datasets'][0]}/scans/b", content=b"\x89HDF another energy")

    async def scene(tab: Tab) -> None:
        drawn = "document.querySelector('#viewer img').naturalWidth"
        await tab.until(drawn)
        assert await tab.value("document.querySelector('#viewer figcaption').textContent") == "Edge energy"
        await tab.value("document.querySelector('[name=variable][value=absorption]').click()")
        await tab.until("document.querySelector('#viewer figcaption').textContent === 'Absorption at 5420.0 eV'")
        slide = "slider.value = 1; slider.dispatchEvent(new Event('input', { bubbles: true }))"
        await tab.value(f"(() => {{ const slider = document.querySelector('[name=energy]'); {slide} }})()")
        await tab.until("document.querySelector('#viewer figcaption').textContent === 'Absorption at 5423.0 eV'")
        await tab.value("document.querySelector('[name=variable][value=label]').click()")
        await tab.until("document.querySelector('#viewer figcaption').textContent === 'Domains'")
        figures = "[...document.querySelectorAll('.gallery img')]"
        await tab.value(f"{figures}.forEach((image) => image.scrollIntoView())")
        await tab.until(f"{figures}.length === 2 && {figures}.every((image) => image.naturalWidth)")

    play(f"{client.base_url}/?run={finished['id']}", scene)


def test_a_run_is_followed_to_its_figures(play: Play, client: httpx.Client, service: Any, run: dict[str, Any]) -> None:
    service.runs.advance(run["id"], 2)

    async def scene(tab: Tab) -> None:
        done = "document.querySelector('.stages li .count').textContent"
        await tab.until(f"{done} === '2 / 4'")
        service.runs.advance(run["id"], 3)
        await tab.until(f"{done} === '3 / 4'")
        threading.Timer(0.1, service.runs.finish, [run["id"]]).start()
        await tab.until("document.querySelectorAll('.gallery figure').length === 2")
        await tab.until("document.querySelector('#viewer img').naturalWidth")
        assert "open_datatree" in await tab.value("document.querySelector('#open-code').textContent")

    play(f"{client.base_url}/?run={run['id']}", scene)


def test_a_measurement_is_sent_and_a_run_started_by_hand(play: Play, client: httpx.Client) -> None:
    async def scene(tab: Tab) -> None:
        await tab.value("document.querySelector('#create-dataset [name=title]').value = 'by hand'")
        await tab.value("document.querySelector('#create-dataset [name=formula]').value = 'LiVO2'")
        await tab.value("document.querySelector('#create-dataset button').click()")
        await tab.until("document.querySelector('.card .drop')")
        await tab.value(
            """(() => {
            const files = new DataTransfer();
            const sent = new Blob([new Uint8Array([0x89, 0x48, 0x44, 0x46, 1])]);
            files.items.add(new File([sent], "one 5420 eV.cxi"));
            files.items.add(new File(["nothing"], "two.txt"));
            const drop = new DragEvent("drop", { bubbles: true, dataTransfer: files });
            document.querySelector(".drop").dispatchEvent(drop);
            })()"""
        )
        await tab.until("document.querySelector('.card').textContent.includes('1 energy')")
        await tab.until("document.querySelector('.uploads .fault').textContent.includes('not a scan')")
        await tab.value("document.querySelector('[data-seal]').click()")
        await tab.until("document.querySelector('.card .state').textContent === 'sealed'")
        await tab.value("document.querySelector('[name=dataset]').click()")
        await tab.until("document.querySelector('#picked').textContent === 'on 1 dataset'")
        await tab.value("document.querySelector('#start-run [name=n_domains]').value = '4'")
        await tab.value("document.querySelector('#start-run button.main').click()")
        await tab.until("location.search.startsWith('?run=run_')")
        # Chromium logs the refused file's 422 as an error of the network: it is what was wanted.
        tab.complaints[:] = [text for text in tab.complaints if "422" not in text]

    play(f"{client.base_url}/", scene)
    [dataset] = client.get("/api/v1/datasets").json()["items"]
    assert [scan["name"] for scan in dataset["scans"]] == ["one_5420_eV.cxi"]
    [run] = client.get("/api/v1/runs").json()["items"]
    assert (run["datasets"], run["options"]["domains"]["n_domains"]) == ([dataset["id"]], 4)


def test_refusals_are_told_beside_the_form(play: Play, client: httpx.Client, dataset: dict[str, Any]) -> None:
    async def scene(tab: Tab) -> None:
        await tab.value("document.querySelector('#start-run button.main').click()")
        await tab.until("document.querySelector('#run-refused').textContent.includes('datasets')")
        tab.complaints[:] = [text for text in tab.complaints if "422" not in text]

    play(f"{client.base_url}/", scene)


def test_the_page_fits_a_narrow_screen(play: Play, client: httpx.Client, finished: dict[str, Any]) -> None:
    async def scene(tab: Tab) -> None:
        await tab.command("Emulation.setDeviceMetricsOverride", width=380, height=800, deviceScaleFactor=1, mobile=True)
        await tab.until("document.querySelector('#viewer img').naturalWidth")
        beyond = "[...document.querySelectorAll('body *:not(pre *)')].filter((node) => node.getBoundingClientRect().right > 381)"
        assert await tab.value(f"{beyond}.map((node) => node.tagName + '.' + node.className)") == []

    play(f"{client.base_url}/?run={finished['id']}", scene)
