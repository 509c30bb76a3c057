"""The page in a real browser, from files to maps and back out, as one reader goes through it.

Screenshots of the run at two widths, light and dark, are left in the folder that ``PTYXAS_SCREENSHOTS`` names, if it does.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from chromium import CHROMIUM, Tab, open_browser, perform
from lab import Lab, as_cxi, small_specimen
from PIL import Image

from storage.results import ResultsStore

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]

N_FILES: Final = 14
OPTIONS: Final = {
    "reconstruct.cycles": 30, "kkr.start": 20, "kkr.every": 10, "domains.n_domains": 3, "domains.replicates": 0,
}  # fmt: skip
WATCH: Final = """
    window.told = new Set();
    new MutationObserver(() => document.querySelectorAll(".uploads li").forEach((line) => window.told.add(line.textContent)))
        .observe(document.body, { childList: true, subtree: true, characterData: true });
"""
"""Keeps every line that the queue of uploads shows."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A measurement of a small specimen, one CXI file an energy."""
    folder = tmp_path_factory.mktemp("measured")
    paths = [folder / f"scan_{number:02d}.cxi" for number in range(N_FILES)]
    for path, scan in zip(paths, small_specimen(0, N_FILES).scans, strict=True):
        as_cxi(path, scan)
    return paths


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a browser's DevTools."""
    with open_browser(tmp_path_factory.mktemp("profile")) as address:
        yield address


def test_a_reader_goes_from_files_to_maps_and_takes_them_along(lab: Lab, files: list[Path], browser: str, tmp_path: Path) -> None:
    twin = lab.create(title="twin", sample={"formula": "LiVO2", "group": "delithiated"}, probe={"kind": "kb", "fwhm_m": 3e-7})
    for path in files:
        lab.put(twin, path.stem, path).raise_for_status()
    lab.client.seal(twin)

    async def scene(tab: Tab) -> None:
        await tab.command("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
        await send_files(tab, files)
        await start_run(tab)
        if "PTYXAS_SCREENSHOTS" not in os.environ:
            lab.serving.leave_undrawn((await tab.value("location.search")).removeprefix("?run="))
        await follow_cancel_and_go_on(tab)
        await explore(tab)
        await take_along(tab, lab, tmp_path)
        await look(tab, tmp_path)

    perform(browser, f"{lab.serving.url}/", scene)


async def put(tab: Tab, selector: str, value: object, event: str = "change") -> None:
    """Give a field a value, as a reader would."""
    words = f"node.value = {str(value)!r}; node.dispatchEvent(new Event({event!r}, {{ bubbles: true }}))"
    await tab.value(f"(() => {{ const node = document.querySelector({selector!r}); {words} }})()")


async def click(tab: Tab, selector: str) -> None:
    """Press a button or a choice."""
    await tab.until(f"document.querySelector({selector!r})")
    await tab.value(f"document.querySelector({selector!r}).click()")


async def drop(tab: Tab, paths: list[Path]) -> None:
    """Drop files onto the dataset that is open for them, once more where the page moved it from under the pointer."""
    middle = "(({ left, top, width, height }) => [left + width / 2, top + height / 2])"
    zone = "document.querySelector('.drop')"
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    await tab.value("addEventListener('drop', (event) => { window.hit = Boolean(event.target.closest('.drop')); }, true)")
    for _ in range(5):
        await tab.value(f"window.hit = false; {zone}.scrollIntoView({{ block: 'center' }})")
        x, y = await tab.value(f"{middle}({zone}.getBoundingClientRect())")
        for kind in ("dragEnter", "dragOver", "drop"):
            await tab.command("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)
        if await tab.value("window.hit"):
            return
    pytest.fail(f"{len(paths)} files were dropped five times and hit no dataset")


async def send_files(tab: Tab, files: list[Path]) -> None:
    """Create a dataset and drop its files in two goes, the second while the first are on their way."""
    await tab.value(WATCH)
    await tab.value("document.querySelector('#new-dataset').open = true")
    for name, value in {"title": "by hand", "formula": "LiVO2", "group": "as prepared", "kind": "kb", "fwhm_nm": 300}.items():
        await put(tab, f"#create-dataset [name={name}]", value)
    await click(tab, "#create-dataset button")
    await tab.until("[...document.querySelectorAll('.card')].some((card) => card.textContent.includes('by hand'))")
    await drop(tab, files[:9])
    await tab.until("document.querySelector('.uploads').textContent.includes(' of 9')")
    await drop(tab, files[9:])
    await tab.until("document.querySelector('.card').textContent.includes('14 energies')", timeout_s=180)
    told = await tab.value("[...window.told]")
    assert any(line.startswith("5 of 14") for line in told), told
    assert "fault" not in await tab.value("document.querySelector('.uploads').innerHTML")
    await click(tab, "[data-work=seal]")
    await tab.until("document.querySelector('.card .state').textContent === 'sealed'")
    tab.complaints[:] = []


async def start_run(tab: Tab) -> None:
    """Choose both datasets and a few options, and start."""
    await tab.value("document.querySelectorAll('[name=dataset]').forEach((box, i) => { if (i < 2) box.click(); })")
    await tab.until("document.querySelector('#picked').textContent === 'on 2 datasets together'")
    await tab.value("document.querySelector('#run-options').open = true")
    await tab.until("document.querySelector('[name=\"domains.replicates\"]')")
    for name, value in OPTIONS.items():
        await put(tab, f'[name="{name}"]', value)
    await put(tab, "#start-run [name=name]", "first look")
    await click(tab, "#start-run button.main")
    await tab.until("location.search.startsWith('?run=run_')")


SEEN: Final = """JSON.stringify([
    document.querySelector('#viewer img')?.src ?? '',
    [...document.querySelectorAll('#energies .drawing path')].map((line) => line.getAttribute('d')),
])"""


async def follow_cancel_and_go_on(tab: Tab) -> None:
    """See images and curves of R come without loading the page again; cancel; see them still; go on to the maps."""
    await tab.until("document.querySelector('#run')?.dataset.state")
    await tab.value("window.isTheSamePage = true")
    await tab.until("document.querySelector('#viewer img')?.naturalWidth", timeout_s=240)
    before = await tab.value(SEEN)
    await tab.until(f"{SEEN} !== {before!r} && document.querySelectorAll('#energies .drawing path').length > 2", timeout_s=180)
    assert await tab.value("window.isTheSamePage")
    await click(tab, "[data-act=cancel]")
    await tab.until("document.querySelector('#run')?.dataset.state === 'cancelled'", timeout_s=120)
    await tab.until("document.querySelector('#viewer img')?.naturalWidth")
    assert await tab.value("document.querySelectorAll('#energies tbody tr').length") > 2
    await click(tab, "[data-act=retry]")
    await tab.until("['queued', 'running'].includes(document.querySelector('#run')?.dataset.state)", timeout_s=120)
    await tab.until("document.querySelector('canvas.map')?.getAttribute('aria-label')", timeout_s=240)


async def point(tab: Tab, *places: tuple[float, float]) -> None:
    """Press the mouse on the first map, move through ``places`` (shares of its width and height), and let go."""
    await tab.value("document.querySelector('canvas.map').scrollIntoView({ block: 'center' })")
    rect = "(({ x, y, width, height }) => [x, y, width, height])(document.querySelector('canvas.map').getBoundingClientRect())"
    left, top, width, height = await tab.value(rect)
    kinds = ["mouseMoved", "mousePressed", *["mouseMoved"] * (len(places) - 1), "mouseReleased"]
    for kind, (x, y) in zip(kinds, [places[0], *places, places[-1]], strict=True):
        at = {"x": left + x * width, "y": top + y * height}
        await tab.command("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **at)


PIXELS: Final = "document.querySelector('canvas.map').toDataURL()"
ROWS: Final = "[...document.querySelectorAll('#explore .areas tbody tr')].map((row) => row.innerText)"


async def explore(tab: Tab) -> None:
    """Move through the energies, take a pixel and an area, set limits, and link the map of the other dataset."""
    await put(tab, "[name=image]", "absorption")
    await tab.until("document.querySelector('[name=shown]').textContent === '5540.0 eV'")
    before = await tab.value(PIXELS)
    await put(tab, "[name=energy]", 3, "input")
    await tab.until("document.querySelector('[name=shown]').textContent === '5469.0 eV'")
    await tab.until(f"{PIXELS} !== {before!r}")
    await point(tab, (0.5, 0.5))
    await tab.until(f"{ROWS}.length === 1 && document.querySelectorAll('.spectra .drawing circle').length === 2 * {N_FILES}")
    assert "Residual" in await tab.value("document.querySelector('.spectra .drawing').textContent")
    fits = "[...document.querySelectorAll('.spectra .drawing path')].filter((line) => line.getAttribute('d').length > 3000)"
    assert await tab.value(f"{fits}.length") == 1, "the curve of eq. 1"
    await click(tab, "[name=tool][value=lasso]")
    await point(tab, (0.46, 0.4), (0.54, 0.4), (0.56, 0.5), (0.5, 0.6), (0.44, 0.5))
    await tab.until(f"{ROWS}.length === 2 && {ROWS}[1].includes('±')")
    before = await tab.value(PIXELS)
    await put(tab, "[name=high]", 0.2)
    await tab.until(f"{PIXELS} !== {before!r} && decodeURIComponent(location.hash).includes('~0.2&')")
    await click(tab, "[data-do=second]")
    await tab.until("document.querySelectorAll('canvas.map')[1]?.getAttribute('aria-label')?.startsWith('Absorption of ')")
    names = "[...document.querySelectorAll('canvas.map')].map((map) => map.getAttribute('aria-label'))"
    assert sorted(await tab.value(names)) == ["Absorption of by hand", "Absorption of twin"]
    before = await tab.value(PIXELS)
    await put(tab, "[name=energy]", 9, "input")
    await tab.until(f"document.querySelector('[name=shown]').textContent === '5485.0 eV' && {PIXELS} !== {before!r}")
    images = await tab.value("[...document.querySelectorAll('canvas.map')].map((map) => map.toDataURL())")
    assert images[0] != images[1], "the areas are drawn on the map of their own dataset"


async def saved(folder: Path, suffix: str) -> Path:
    """The file of a kind that the browser has finished writing."""
    for _ in range(1200):
        if found := sorted(folder.glob(f"*{suffix}")):
            return found[0]
        await asyncio.sleep(0.05)
    pytest.fail(f"no file {suffix} came: {sorted(folder.iterdir())}")


async def take_along(tab: Tab, lab: Lab, folder: Path) -> None:
    """Download the map as TIFF and the spectra as CSV, and compare them with what the run published."""
    await tab.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    await click(tab, "[data-save=tiff]")
    await click(tab, "[data-save-spectra=csv]")
    run = (await tab.value("location.search")).removeprefix("?run=")
    store = ResultsStore(lab.serving.data_dir / "runs" / run / "results.zarr")
    shown = await tab.value("decodeURIComponent(location.hash)")
    dataset = shown.partition("panel=")[2].partition("~")[0]
    tiff = np.asarray(Image.open(await saved(folder, ".tiff")))
    np.testing.assert_array_equal(tiff, store.read(f"{dataset}/spectra", "absorption")[0][9])
    rows = [line.split(",") for line in (await saved(folder, ".csv")).read_text(encoding="utf-8").splitlines()]
    assert rows[0][1] == "A absorption"
    y, x = (int(float(place)) for place in shown.partition(f"area={dataset}~A~pixel~")[2].partition("&")[0].split("~"))
    pixel = store.read(f"{dataset}/spectra", "absorption")[0][:, y, x]
    assert [float(row[1]) for row in rows[1:]] == pytest.approx(pixel, rel=1e-6)


async def look(tab: Tab, folder: Path) -> None:
    """Look at the page at two widths, light and dark."""
    shots = Path(os.environ.get("PTYXAS_SCREENSHOTS") or folder)
    for width in (1280, 390):
        await tab.command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width == 390)
        for scheme in ("light", "dark"):
            await tab.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            await asyncio.sleep(0.5)
            await tab.screenshot(shots / f"{width}-{scheme}.png")
