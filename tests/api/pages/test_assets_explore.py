"""The explorer of results in a real browser."""

import io
from pathlib import Path
from typing import Any

import chromium
import httpx
import numpy as np
import pytest
from chromium import CHROMIUM, Play, Tab
from PIL import Image

from storage.results import ResultsStore

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]

ROWS = "document.querySelectorAll('.areas tbody tr').length"


@pytest.fixture
def two(client: httpx.Client, service: Any, dataset: dict[str, Any]) -> str:
    """Address of a finished run on two datasets."""
    body = {"title": "particle 2", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}
    other = client.post("/api/v1/datasets", json=body).raise_for_status().json()
    run = client.post("/api/v1/runs", json={"datasets": [dataset["id"], other["id"]]}).raise_for_status().json()
    service.runs.finish(run["id"])
    return f"{client.base_url}/?run={run['id']}"


async def choose(tab: Tab, selector: str, value: str, event: str = "change") -> None:
    """Give a field a value, as a reader would."""
    script = f"node.value = {value!r}; node.dispatchEvent(new Event({event!r}, {{ bubbles: true }}))"
    await tab.value(f"(() => {{ const node = document.querySelector({selector!r}); {script} }})()")


async def drag(tab: Tab, *places: tuple[float, float]) -> None:
    """Press the mouse on the first image, move through ``places`` (shares of its width and height), and let go."""
    rect = "(({ x, y, width, height }) => [x, y, width, height])(document.querySelector('canvas.map').getBoundingClientRect())"
    await tab.value("document.querySelector('canvas.map').scrollIntoView({ block: 'center' })")
    left, top, width, height = await tab.value(rect)
    kinds = ["mousePressed", *["mouseMoved"] * len(places), "mouseReleased"]
    for kind, (x, y) in zip(kinds, [places[0], *places, places[-1]], strict=True):
        at = {"x": left + x * width, "y": top + y * height}
        await tab.command("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **at)


async def look_around(tab: Tab) -> None:
    """Choose an image and an energy, take a pixel and a box, set limits, and link a second panel."""
    await tab.until("document.querySelector('canvas.map')?.getAttribute('aria-label') === 'Edge energy of particle 1'")
    await choose(tab, "[name=image]", "absorption")
    await tab.until("document.querySelector('[name=shown]').textContent === '5540.0 eV'")
    await choose(tab, "[name=energy]", "3", "input")
    await tab.until("document.querySelector('[name=shown]').textContent === '5447.7 eV'")
    await drag(tab, (0.5, 0.5))
    await tab.until(f"{ROWS} === 1 && document.querySelectorAll('.drawing circle').length === 28")
    await tab.value("document.querySelector('[name=tool][value=box]').click()")
    await tab.until("document.querySelector('.readout').textContent.includes('row ')")
    await drag(tab, (0.45, 0.3), (0.5, 0.4), (0.6, 0.6))
    await tab.until(f"{ROWS} === 2")
    await choose(tab, "[name=low]", "0.05")
    await tab.value("document.querySelector('[data-do=second]').click()")
    await tab.until("document.querySelectorAll('canvas.map')[1]?.getAttribute('aria-label') === 'Absorption of particle 2'")
    await tab.until("location.hash.includes('area=') && location.hash.split('panel=').length === 3")


def test_a_view_is_made_and_its_address_shows_the_same(play: Play, two: str) -> None:
    async def scene(tab: Tab) -> None:
        await look_around(tab)
        drawn = "[...document.querySelectorAll('canvas.map')].map((canvas) => canvas.toDataURL())"
        table = "document.querySelector('.areas')?.innerText"
        await tab.until(f"(({table})?.match(/±/g) ?? []).length >= 2")
        before = [await tab.value(f"JSON.stringify({what})") for what in ("location.hash", table)]
        assert await tab.value("document.querySelector('[name=low]').value") == "0.05"
        images = await tab.value(drawn)
        assert len({len(image) for image in images}) == 2
        assert (
            await tab.value("performance.getEntriesByType('resource').filter((one) => one.name.includes('/images/')).length") == 0
        )
        await tab.command("Page.reload")
        await tab.until(f"{ROWS} === 2 && document.querySelectorAll('.drawing circle').length === 56")
        await tab.until(f"location.hash === {before[0]} && {table} === {before[1]}")
        assert await tab.value("document.querySelector('[name=low]').value") == "0.05"

    play(two, scene)


def test_the_image_is_read_with_keys_alone(play: Play, two: str) -> None:
    async def press(tab: Tab, key: str) -> None:
        await tab.command("Input.dispatchKeyEvent", type="keyDown", key=key)
        await tab.command("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def scene(tab: Tab) -> None:
        await tab.until("document.querySelector('canvas.map')?.getAttribute('aria-label')")
        await tab.value("document.querySelector('canvas.map').focus()")
        await press(tab, "ArrowDown")
        await tab.until("document.querySelector('.readout').textContent.includes('row 21, column 25')")
        assert "± 0.10 eV" in await tab.value("document.querySelector('.readout').textContent")
        await press(tab, "+")
        await tab.until("location.hash.includes('zoom=1.5')")
        await press(tab, "Enter")
        await tab.until(f"{ROWS} === 1")
        assert "row 21, column 25" in await tab.value("document.querySelector('.areas').innerText")

    play(two, scene)


KEEP_FILES = """(() => {
    const make = URL.createObjectURL;
    window.files = {};
    let last = null;
    URL.createObjectURL = (blob) => { last = blob; return make(blob); };
    HTMLAnchorElement.prototype.click = function () { window.files[this.download.split(".").at(-1)] = last; };
})()"""


async def saved(tab: Tab, kind: str) -> bytes:
    """Bytes of the file that was saved last of its kind."""
    await tab.until(f"window.files[{kind!r}]")
    script = f"window.files[{kind!r}].arrayBuffer().then((all) => Array.from(new Uint8Array(all)))"
    return bytes(await tab.value(script))


def test_images_and_spectra_are_taken_along(play: Play, service: Any, two: str) -> None:
    run_id = two.rpartition("=")[2]
    store = ResultsStore(service.runs.folder / run_id / "results.zarr")
    [dataset, _] = service.runs.get(run_id).datasets

    async def scene(tab: Tab) -> None:
        await tab.value(KEEP_FILES)
        await tab.value(f"location.hash = 'panel={dataset}~absorption~~~&energy=5447.692&area={dataset}~A~box~10~10~14~12'")
        await tab.until(f"{ROWS} === 1 && document.querySelector('[name=shown]').textContent === '5447.7 eV'")
        for kind in ("tiff", "csv", "png"):
            await tab.value(f"document.querySelector('[data-save={kind}]').click()")
        image = store.read(f"{dataset}/spectra", "absorption")[0][3]
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(await saved(tab, "tiff")))), image)
        rows = (await saved(tab, "csv")).decode().splitlines()
        assert rows[0].startswith('"# Absorption, particle 1 at 5447.7 eV')
        assert np.array([row.split(",")[1:] for row in rows[2:]], float) == pytest.approx(image)
        picture = np.asarray(Image.open(io.BytesIO(await saved(tab, "png"))).convert("L"))
        assert np.unique(picture).size > 50
        await tab.value("window.files = {}; document.querySelector('[data-save-spectra=csv]').click()")
        table = [row.split(",") for row in (await saved(tab, "csv")).decode().splitlines()]
        assert table[0][1:3] == ["A absorption", "A absorption_sigma"]
        cube = store.read(f"{dataset}/spectra", "absorption")[0]
        assert [float(row[1]) for row in table[1:]] == pytest.approx(cube[:, 10:15, 10:13].mean(axis=(1, 2)))
        await tab.until("document.querySelector('#open-code').textContent.split('.plot(').length === 3")
        lines = await tab.value("document.querySelector('#open-code').textContent")
        names: dict[str, Any] = {}
        exec("\n".join(line for line in lines.splitlines() if line.startswith(("import", "study ="))), names)
        shown, spectrum = (eval(line.partition(".plot(")[0], names) for line in lines.splitlines() if ".plot(" in line)
        np.testing.assert_array_equal(shown.to_numpy(), image)
        assert spectrum.to_numpy() == pytest.approx(cube[:, 10:15, 10:13].mean(axis=(1, 2)))
        names["study"].close()

    play(two, scene)


SERIOUS = """axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations
    .filter((found) => ["serious", "critical"].includes(found.impact))
    .map((found) => [found.id, ...found.nodes.map((node) => node.html.slice(0, 200))]))"""


def test_axe_has_nothing_serious_to_say(play: Play, two: str) -> None:
    """At 1280 and 390 pixels, light and dark."""
    [axe] = Path(chromium.__file__).parent.glob("axe-core-*.min.js")

    async def scene(tab: Tab) -> None:
        await tab.until("document.querySelector('canvas.map')?.getAttribute('aria-label')")
        await drag(tab, (0.5, 0.5))
        await tab.until(f"{ROWS} === 1")
        await tab.value("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        await tab.until("document.querySelector('[name=\"fit.joint\"]')")
        await tab.value(f"{axe.read_text(encoding='utf-8')}; 0")
        for width in (1280, 390):
            await tab.command(
                "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width == 390
            )
            for scheme in ("light", "dark"):
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                await tab.command("Emulation.setEmulatedMedia", features=features)
                assert (width, scheme, await tab.value(SERIOUS)) == (width, scheme, [])

    play(two, scene)
