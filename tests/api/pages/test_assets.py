"""The web page in a real browser: what its scripts do, seen through Chromium's DevTools."""

import threading
from typing import Any

import httpx
import pytest
from chromium import CHROMIUM, Play, Tab

OTHER = {"sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


def test_a_run_is_followed_to_its_figures(play: Play, client: httpx.Client, service: Any, run: dict[str, Any]) -> None:
    service.runs.advance(run["id"], 2)

    async def scene(tab: Tab) -> None:
        done = "document.querySelector('.stages li .count').textContent"
        await tab.until(f"{done} === '2 / 4'")
        service.runs.advance(run["id"], 3)
        await tab.until(f"{done} === '3 / 4'")
        await tab.until("document.querySelectorAll('#energies tbody tr').length === 3")
        await tab.until("document.querySelectorAll('#energies .drawing path').length === 3")
        await tab.until("document.querySelector('#viewer img').naturalWidth")
        threading.Timer(0.1, service.runs.finish, [run["id"]]).start()
        await tab.until("document.querySelectorAll('.gallery figure').length === 2")
        await tab.until("document.querySelector('#explore canvas.map')")
        await tab.until("document.querySelector('#open-code').textContent.includes('open_datatree')")

    play(f"{client.base_url}/?run={run['id']}", scene)


def test_no_image_is_asked_for_of_a_dataset_without_a_reconstructed_energy(
    play: Play, client: httpx.Client, service: Any, run: dict[str, Any], dataset: dict[str, Any]
) -> None:
    service.runs.advance(run["id"], 2)
    caption = "document.querySelector('#viewer figcaption').textContent"

    async def scene(tab: Tab) -> None:
        await tab.until("document.querySelector('#viewer img').naturalWidth")
        await tab.value("import('/assets/run/viewer.js').then((module) => { window.show = module.showImage; })")
        await tab.value("window.show([{ dataset: 'ds_other' }])")
        assert await tab.value(caption) == "No energy of this dataset has been reconstructed yet."
        assert not await tab.value("document.querySelector('#viewer img').hasAttribute('src')")
        await tab.value(f"window.show([{{ dataset: 'ds_other' }}, {{ dataset: '{dataset['id']}' }}])")
        await tab.until("document.querySelector('#viewer img').naturalWidth")

    play(f"{client.base_url}/?run={run['id']}", scene)


def test_the_focus_stays_where_it_is_when_lists_are_refreshed(
    play: Play, client: httpx.Client, run: dict[str, Any], dataset: dict[str, Any]
) -> None:
    other = client.post("/api/v1/datasets", json={**OTHER, "title": "other"}).json()["id"]
    path = f"/datasets/{dataset['id']}"
    parts = ("input[type=checkbox]", "a", "button[id^=rename]")

    async def scene(tab: Tab) -> None:
        await tab.value("import('/assets/refresh.js').then((module) => { window.refresh = module.refresh; })")
        for number, part in enumerate(parts):
            focused = f"document.querySelector('[data-item=\"{path}\"] {part}')"
            await tab.value(f"{focused}.focus()")
            assert client.patch(f"/api/v1{path}", json={"title": f"name {number}"}).is_success
            assert await tab.value("window.refresh('#dataset-list')")
            assert f"name {number}" in await tab.value(f"{focused}.closest('li').textContent")
            assert await tab.value(f"document.activeElement === {focused}"), part
        file = f"document.querySelector('[data-item=\"/datasets/{other}\"] input[type=file]')"
        await tab.value(f"{file}.focus()")
        assert client.patch(f"/api/v1{path}", json={"title": "the last"}).is_success
        assert await tab.value("window.refresh('#dataset-list')")
        assert await tab.value(f"document.activeElement === {file}")

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
            const more = new DataTransfer();
            more.items.add(new File([sent, "another energy"], "three.cxi"));
            for (const dataTransfer of [files, more]) {
                document.querySelector(".drop").dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer }));
            }
            window.told = document.querySelector(".uploads").textContent;
            const beside = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: files });
            document.querySelector("h1, header").dispatchEvent(beside);
            window.stays = beside.defaultPrevented;
            })()"""
        )
        assert await tab.value("window.stays")  # files that miss the dataset are not opened in place of the page
        assert "1 of 3" in await tab.value("window.told")  # the second drop joined the first
        await tab.until("document.querySelector('.card').textContent.includes('2 energies')")
        await tab.until("document.querySelector('.uploads .fault')?.textContent.includes('positions_m: missing')")
        await tab.value("document.querySelector('[data-work=seal]').click()")
        await tab.until("document.querySelector('.card .state').textContent === 'sealed'")
        await tab.value("document.querySelector('[name=dataset]').click()")
        await tab.until("document.querySelector('#picked').textContent === 'on 1 dataset'")
        await tab.value("document.querySelector('#run-options').open = true")
        n_domains = "document.querySelector('#start-run [name=\"domains.n_domains\"]')"
        await tab.until(n_domains)
        await tab.value(f"{n_domains}.value = '4'")
        await tab.value("document.querySelector('#start-run button.main').click()")
        await tab.until("location.search.startsWith('?run=run_')")
        # Chromium logs the refused file's 422 as an error of the network: it is what was wanted.
        tab.complaints[:] = [text for text in tab.complaints if "422" not in text]

    play(f"{client.base_url}/", scene)
    [dataset] = client.get("/api/v1/datasets").json()["items"]
    assert {scan["name"] for scan in dataset["scans"]} == {"one_5420_eV.cxi", "three.cxi"}
    [run] = client.get("/api/v1/runs").json()["items"]
    assert (run["datasets"], run["options"]["domains"]["n_domains"]) == ([dataset["id"]], 4)


def test_a_reference_is_kept_and_used_by_a_run(play: Play, client: httpx.Client, dataset: dict[str, Any]) -> None:
    rise = [(5420 + 2 * n, 0.1 + (n > 25)) for n in range(60)]
    columns = "# Element.symbol: V\n# Element.edge: K\n# energy xmu\n" + "".join(f"{energy} {xmu}\n" for energy, xmu in rise)

    async def scene(tab: Tab) -> None:
        await tab.value("document.querySelector('[name=dataset]').click()")
        await tab.value("document.querySelector('#run-options').open = true")
        await tab.until("document.querySelector('[name=keep-references]')")
        await tab.value(
            f"""(() => {{
            const field = document.querySelector("[name=keep-references]"), sent = new DataTransfer();
            sent.items.add(new File([{columns!r}], "V foil (1).xmu"));
            sent.items.add(new File(["nothing"], "two.txt"));
            field.files = sent.files;
            field.dispatchEvent(new Event("change"));
            }})()"""
        )
        await tab.until("document.querySelector('.kept input')?.checked")
        said = await tab.value("document.querySelector('[name=keep-references] + small').textContent")
        assert said.startswith("Kept: V-foil-1-.")
        assert "two.txt: " in said
        await tab.value("document.querySelector('#start-run button.main').click()")
        await tab.until("location.search.startsWith('?run=run_')")
        tab.complaints[:] = [text for text in tab.complaints if "422" not in text]

    play(f"{client.base_url}/", scene)
    assert [one["name"] for one in client.get("/api/v1/references").json()["items"]] == ["V-foil-1-"]
    [run] = client.get("/api/v1/runs").json()["items"]
    assert len(run["options"]["references"]["xdi"]) == 1


def test_refusals_are_told_beside_the_form(play: Play, client: httpx.Client, dataset: dict[str, Any]) -> None:
    async def scene(tab: Tab) -> None:
        await tab.value("document.querySelector('#start-run button.main').click()")
        await tab.until("document.querySelector('#start-run output').textContent.includes('Tick the datasets')")

    play(f"{client.base_url}/", scene)


def test_a_cancelled_run_shows_what_there_is_and_is_run_again_with_changes(
    play: Play, client: httpx.Client, service: Any, run: dict[str, Any]
) -> None:
    service.runs.advance(run["id"], 2)
    service.runs.finish(run["id"], "cancelled")

    async def scene(tab: Tab) -> None:
        await tab.until("document.querySelector('#viewer img')?.naturalWidth")
        await tab.until("document.querySelectorAll('#energies tbody tr').length === 2")
        await tab.until("document.querySelector('#log').textContent.includes('the run is cancelled')")
        await tab.value("document.querySelector('[data-work=again]').click()")
        await tab.until("document.querySelector('#picked').textContent === 'on 1 dataset'")
        await tab.value("document.querySelector('[name=\"domains.n_domains\"]').value = '4'")
        await tab.value("document.querySelector('#start-run button.main').click()")
        await tab.until(f"location.search.startsWith('?run=run_') && location.search !== '?run={run['id']}'")

    play(f"{client.base_url}/?run={run['id']}", scene)
    options = client.get("/api/v1/runs").json()["items"][0]["options"]
    assert options == {**run["options"], "domains": {**run["options"]["domains"], "n_domains": 4}}


def test_an_empty_box_is_drawn_where_the_vacuum_was_not_found(
    play: Play, client: httpx.Client, service: Any, run: dict[str, Any]
) -> None:
    service.runs.advance(run["id"], 3)
    service.runs.finish(run["id"], "failed", "too little vacuum: scan a wider field, or name an empty box (align.vacuum_box)")

    async def scene(tab: Tab) -> None:
        await tab.until("document.querySelector('#vacuum img')?.naturalWidth")
        drag = """(([type, x, y]) => { const field = document.querySelector('#vacuum .field');
            const { left, top, width, height } = field.querySelector('img').getBoundingClientRect();
            const at = { clientX: left + x * width, clientY: top + y * height, pointerId: 1 };
            field.dispatchEvent(new PointerEvent(type, at)); })"""
        await tab.value("Element.prototype.setPointerCapture = () => {}")  # the pointer is made up
        for event in (["pointerdown", 0.1, 0.5], ["pointermove", 0.25, 0.25], ["pointerup", 0.25, 0.25]):
            await tab.value(f"{drag}({event})")
        await tab.until("document.querySelector('#vacuum output').textContent.startsWith('rows ')")
        await tab.value("document.querySelector('#vacuum button').click()")
        box = "document.querySelector('[name=\"align.vacuum_box\"]')?.value"
        await tab.until(f"({box} ?? '').split(', ').length === 4")
        size = "(({ naturalWidth: w, naturalHeight: h }) => [h * 0.25, h * 0.5 + 1, w * 0.1, w * 0.25 + 1].map(Math.floor))"
        wanted = await tab.value(f"{size}(document.querySelector('#vacuum img')).join(', ')")
        assert await tab.value(box) == wanted
        await tab.value("document.querySelector('#start-run button.main').click()")
        await tab.until(f"location.search.startsWith('?run=run_') && location.search !== '?run={run['id']}'")

    play(f"{client.base_url}/?run={run['id']}", scene)
    box = client.get("/api/v1/runs").json()["items"][0]["options"]["align"]["vacuum_box"]
    assert box[0] < box[1]
    assert box[2] < box[3]


def test_the_page_fits_a_narrow_screen(play: Play, client: httpx.Client, finished: dict[str, Any]) -> None:
    async def scene(tab: Tab) -> None:
        await tab.command("Emulation.setDeviceMetricsOverride", width=380, height=800, deviceScaleFactor=1, mobile=True)
        await tab.until("document.querySelector('#explore canvas.map')")
        figures = "[...document.querySelectorAll('.gallery img')]"
        await tab.value(f"{figures}.forEach((image) => image.scrollIntoView())")
        await tab.until(f"{figures}.length === 2 && {figures}.every((image) => image.naturalWidth)")
        nodes = "[...document.querySelectorAll('body *:not(pre *, .scrolled *)')]"
        beyond = f"{nodes}.filter((node) => node.getBoundingClientRect().right > 381)"
        assert await tab.value(f"{beyond}.map((node) => node.tagName + '.' + node.className)") == []

    play(f"{client.base_url}/?run={finished['id']}", scene)


@pytest.mark.parametrize("width", [380, 1280])
def test_names_without_a_space_stay_within_their_place(
    play: Play, client: httpx.Client, finished: dict[str, Any], width: int
) -> None:
    dataset = finished["datasets"][0]
    named = {"title": "t" * 200, "sample": {"name": "n" * 200, "group": "g" * 200}}
    assert client.patch(f"/api/v1/datasets/{dataset}", json=named).is_success
    assert client.patch(f"/api/v1/runs/{finished['id']}", json={"name": "r" * 200}).is_success

    async def scene(tab: Tab) -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 1000}
        await tab.command("Emulation.setDeviceMetricsOverride", **size)
        await tab.until("document.querySelectorAll('.card').length")
        leaves = "[...document.querySelectorAll('aside *, main *')].filter((node) => !node.childElementCount)"
        shown = f"{leaves}.filter((node) => !node.closest('pre, .scrolled, select, #runs'))"
        words = "((range) => (range.selectNodeContents(node), range.getBoundingClientRect().right))(document.createRange())"
        beyond = f"{shown}.filter((node) => {words} > node.closest('aside, main').getBoundingClientRect().right + 1)"
        assert await tab.value(f"{beyond}.map((node) => node.tagName + '.' + node.className)") == []
        assert await tab.value("document.documentElement.scrollWidth <= innerWidth")

    for address in (f"/?run={finished['id']}", f"/datasets/{dataset}"):
        play(f"{client.base_url}{address}", scene)


def test_an_axis_has_at_least_two_round_numbers(play: Play, client: httpx.Client) -> None:
    async def scene(tab: Tab) -> None:
        marks = "import('/assets/explore/numbers.js').then((numbers) => numbers.ticks({}))"
        assert await tab.value(marks.format("5476.9, 5483.1, 2")) == [5478, 5480, 5482]
        assert await tab.value(marks.format("0, 10, 5")) == [0, 2, 4, 6, 8, 10]
        assert await tab.value(marks.format("-0.31, 0.42, 2")) == [-0.2, 0, 0.2, 0.4]
        assert await tab.value(marks.format("3, 3, 2")) == [3]

    play(str(client.base_url), scene)
