from pathlib import Path

import numpy as np
import pytest

from storage.errors import LayoutError
from storage.layout import COORDINATES, DATASET, RESULTS, results_group

DESIGN_RESULTS = {
    "{dataset}/reconstruction": "probe error prtf frc resolution",
    "{dataset}/spectra": "absorption phase vacuum_mask shift kk_residual",
    "{dataset}/maps": "edge_energy edge_jump edge_width offset pre_edge_height pre_edge_energy pre_edge_width "
    "pre_edge_area white_line_height white_line_energy white_line_width pre_edge_ratio n_absorber n_electron "
    "electron_ratio residual status mask edge_energy_sigma pre_edge_ratio_sigma electron_ratio_sigma edge_jump_sigma",
    "{dataset}/domains": "label",
    "domains": "centre inertia fraction group_fraction mean_absorption density",
}


def test_everything_the_contract_promises_is_in_the_table() -> None:
    assert {group: set(names.split()) - set(RESULTS[group]) for group, names in DESIGN_RESULTS.items()} == {
        group: set() for group in DESIGN_RESULTS
    }
    assert set(DATASET["scans/{scan}"]) >= {"counts", "positions_m"}
    assert set(DATASET[""]) == {"mask"}


def test_every_dimension_of_results_has_a_coordinate() -> None:
    dims = {dim for group in RESULTS.values() for spec in group.values() for dim in spec.dims}
    assert {dim for dim in dims if COORDINATES[dim].dims != (dim,)} == set()


def test_an_array_written_energy_by_energy_has_chunks_of_one_energy() -> None:
    spec = RESULTS["{dataset}/spectra"]["absorption"]
    assert spec.chunk_shape((40, 300, 310)) == (1, 300, 310)
    assert spec.tile_shape((40, 9000, 9000)) == (1, 466, 9000)


@pytest.mark.parametrize(("shape", "n_parts"), [((40, 600, 600), 3), ((40, 362, 362), 1), ((600, 1000), 5), ((9000, 9000), 643)])
def test_an_image_is_cut_into_equal_parts_of_at_most_512_kib(shape: tuple[int, ...], n_parts: int) -> None:
    spec = RESULTS["{dataset}/spectra"]["absorption"] if len(shape) == 3 else RESULTS["{dataset}/maps"]["edge_energy"]
    chunk = spec.chunk_shape(shape)
    assert (chunk[:-2], chunk[-1]) == ((1,) * (len(shape) - 2), shape[-1])
    assert 4 * chunk[-2] * chunk[-1] <= 2**19
    assert -(-shape[-2] // chunk[-2]) == n_parts


@pytest.mark.parametrize(("n_positions", "n_pixels"), [(516, 128), (10_000, 512), (3, 4096), (2000, 96)])
def test_counts_are_in_chunks_of_whole_frames_of_8_to_32_mib(n_positions: int, n_pixels: int) -> None:
    spec = DATASET["scans/{scan}"]["counts"]
    frames, *frame = spec.chunk_shape((n_positions, n_pixels, n_pixels))
    assert frame == [n_pixels, n_pixels]
    n_bytes = 4 * frames * n_pixels**2
    assert n_bytes <= 32 * 2**20 or frames == 1
    assert n_bytes >= 8 * 2**20 or frames == n_positions


def test_a_wrong_shape_or_dtype_is_refused() -> None:
    spec = RESULTS["{dataset}/maps"]["edge_energy"]
    spec.check((3, 4), np.float32)
    with pytest.raises(LayoutError, match="float64"):
        spec.check((3, 4), np.float64)
    with pytest.raises(LayoutError, match=r"\(3,\)"):
        spec.check((3,), np.float32)
    with pytest.raises(LayoutError, match="dimensions"):
        spec.chunk_shape((3,))


def test_categories_say_what_their_values_mean() -> None:
    status, label = RESULTS["{dataset}/maps"]["status"].attributes(), RESULTS["{dataset}/domains"]["label"].attributes()
    assert status["flag_values"] == [0, 1, 2, 3, 4, 5]
    assert status["flag_meanings"] == "ok at_bound not_converged masked_vacuum masked_jump masked_not_finite"
    assert label["flag_meanings"].split()[:3] == ["outside", "domain_1", "domain_2"]
    assert len(label["flag_values"]) == len(label["flag_meanings"].split()) == 13


def test_groups_are_found_by_path() -> None:
    assert results_group("ds_1/maps") is RESULTS["{dataset}/maps"]
    assert results_group("domains") is RESULTS["domains"]
    for path in ("ds_1/mpas", "/maps", "a/b/maps", "maps", ""):
        with pytest.raises(LayoutError):
            results_group(path)


def test_no_other_module_of_the_room_spells_a_results_path() -> None:
    package = Path(__file__).resolve().parents[2] / "storage"
    others = [path for path in package.rglob("*.py") if path.name != "layout.py"]
    assert others
    assert [path.name for path in others if "/spectra" in path.read_text() or "/maps" in path.read_text()] == []
