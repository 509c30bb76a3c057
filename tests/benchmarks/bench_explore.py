"""How long the page takes to show a run's results, another energy of them, and the spectrum of a pixel, in Chromium.

    python tests/benchmarks/bench_explore.py [--side 600] [--energies 40]

Prints milliseconds: first paint and first map of a run; the median and the longest of the steps of the energy slider, each to
the next energy, a quarter of a second after the one before; the median and the longest spectrum of a pixel, from the click to
its points, the first after the pointer has been on the map for a second; and the first spectrum of another run over HTTP, whose
images nobody has asked for.
"""

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

import httpx
from bench_service import serving
from chromium import CHROMIUM, Tab, open_browser, perform
from published import write_published

from service.records.run_repository import RunRepository
from service.settings import Settings
from storage.catalogue.catalogue import Catalogue
from storage.figures import FigureStore
from tasks.options.run import RunOptions

RUN, OTHER = "run_00000000000000aa", "run_00000000000000bb"
DATASET: Final = "ds_0000000000000000"

PAUSE_S: Final = 0.25
"""Between two steps of the slider, of a reader who looks at each image."""

STEP: Final = """new Promise((resolve) => {
    const [slider, canvas] = [document.querySelector('[name=energy]'), document.querySelector('canvas.map')];
    const seen = () => canvas.getContext('2d').getImageData(canvas.width / 2 - 100, canvas.height / 2 - 50, 200, 100).data.join();
    const before = seen();
    const began = performance.now();
    slider.value = ENERGY;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    const look = () => (seen() === before ? requestAnimationFrame(look) : resolve(performance.now() - began));
    look();
})"""
"""Milliseconds from a step of the slider to other colours in the middle of the map."""

CLICK: Final = """(() => {
    const table = () => document.querySelector('.areas tbody')?.textContent ?? '';
    const before = table();
    window.told = new Promise((resolve) => addEventListener('pointerup', () => {
        const began = performance.now();
        const look = () => (table() === before ? requestAnimationFrame(look) : resolve(performance.now() - began));
        look();
    }, { once: true, capture: true }));
    const canvas = document.querySelector('canvas.map');
    canvas.scrollIntoView({ block: 'center' });
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return [left + PLACE * width, top + 0.5 * height];
})()"""
"""Milliseconds from a click on the map to the pixel's spectrum."""


def publish(folder: Path, side: int, n_energies: int) -> None:
    """A data folder with two finished runs of one dataset."""
    settings = Settings(data_dir=folder)
    for run in (RUN, OTHER):
        (settings.data_dir / "runs" / run).mkdir(parents=True)
    catalogue = Catalogue(settings.catalogue_url)
    runs = RunRepository(catalogue)
    for run in (RUN, OTHER):
        runs.open_run(run, "bench", [DATASET], RunOptions())
        runs.begin_run(run)
        runs.end_run(run, "succeeded", None)
        FigureStore(settings.data_dir / "runs" / run / "figures").write({}, [])
    catalogue.close()
    results = [settings.data_dir / "runs" / run / "results.zarr" for run in (RUN, OTHER)]
    write_published(results[0], [DATASET], (side, side), n_energies)
    shutil.copytree(results[0], results[1])


def described(name: str, found_ms: Sequence[float]) -> str:
    """One line of the table."""
    return f"{name:34s}{statistics.median(found_ms):8.0f}{max(found_ms):8.0f}"


async def scene(tab: Tab, n_energies: int) -> None:
    """Look at every energy and at ten pixels, and print how long each took."""
    await tab.until("document.querySelector('canvas.map')?.getAttribute('aria-label')", timeout_s=60)
    first_map = await tab.value("performance.now()")
    paint = "performance.getEntriesByType('paint').find((one) => one.name === 'first-contentful-paint').startTime"
    print(described("first paint", [await tab.value(paint)]))
    print(described("first map (at most)", [first_map]))
    choose = "const node = document.querySelector('[name=image]'); node.value = 'absorption';"
    await tab.value(f"(() => {{ {choose} node.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()")
    await tab.until("document.querySelector('[name=shown]').textContent.endsWith(' eV')")
    await asyncio.sleep(1)
    steps = []
    for energy in range(n_energies - 2, -1, -1):
        steps.append(await tab.value(STEP.replace("ENERGY", str(energy))))
        await asyncio.sleep(PAUSE_S)
    print(described("step of the slider, first", steps[:1]))
    print(described("steps of the slider, after it", steps[1:]))
    x, y = await tab.value(CLICK.replace("PLACE", "0.3"))
    await tab.command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    await asyncio.sleep(1)
    spectra = [await spectrum_ms(tab, 0.3 + 0.04 * i) for i in range(10)]
    print(described("spectrum of a pixel, first", spectra[:1]))
    print(described("spectra of pixels, after it", spectra[1:]))


def first_spectrum_ms(url: str) -> float:
    """Milliseconds until the service answers with the first spectrum of a run."""
    began = time.perf_counter()
    httpx.get(f"{url}/api/v1/runs/{OTHER}/spectrum", params={"dataset": DATASET, "y": 99, "x": 99}, timeout=30).raise_for_status()
    return 1e3 * (time.perf_counter() - began)


async def spectrum_ms(tab: Tab, place: float) -> float:
    """Milliseconds until the spectrum of a pixel is told, at a share of the map's width."""
    x, y = await tab.value(CLICK.replace("PLACE", str(place)))
    for kind in ("mousePressed", "mouseReleased"):
        await tab.command("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, x=x, y=y)
    return float(await tab.value("window.told"))


def main() -> None:
    """Publish a run, serve it, and look at it in a browser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=600, help="pixels along y and x")
    parser.add_argument("--energies", type=int, default=40)
    chosen = parser.parse_args()
    if CHROMIUM is None:
        print("no Chromium on this machine")
        return
    with tempfile.TemporaryDirectory() as folder:
        publish(Path(folder) / "data", chosen.side, chosen.energies)
        with serving(Path(folder) / "data", 1) as (url, _), open_browser(Path(folder) / "profile") as browser:
            print(f"{chosen.side} x {chosen.side} x {chosen.energies}{'':24s}median     max  [ms]")
            perform(browser, f"{url}/?run={RUN}", lambda tab: scene(tab, chosen.energies))
            print(described("first spectrum over HTTP, cold", [first_spectrum_ms(url)]))


if __name__ == "__main__":
    main()
