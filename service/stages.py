"""One function a stage: read what the unit needs, compute with ``tasks``, write under the unit's key, say what came of it.

Arguments that name other units hold their keys. What a stage writes is what the next one reads: the names are here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.desk import Desk
from service.graph import ScanFacts
from service.measurement import check_orientation, orientation, read_measured, seeded_probe
from service.publication import figures, results
from service.sharpness import spectrum_sharpness
from tasks import chemistry as chemistry_task
from tasks import domains as domains_task
from tasks.domain_borders import settle_borders
from tasks.domain_profile import densities, mean_spectra
from tasks.domain_stability import domain_stability
from tasks.gauge import Gauge
from tasks.kkr import outside_columns
from tasks.options import (
    AlignOptions,
    ChemistryOptions,
    DomainOptions,
    FitOptions,
    KKROptions,
    ReconstructOptions,
    ReferenceOptions,
)
from tasks.ptycho import engine
from tasks.ptycho.resolution import prtf
from tasks.ptycho.scan import illumination
from tasks.refraction import Absorber
from tasks.spectra import Correction, Spectra
from tasks.spectra import couple as couple_energies
from tasks.standouts import standouts
from tasks.xanes.fit import SpectrumFit, Status, at_edge_wavelength, find_prior, fit_spectra
from tasks.xanes.joint import Pairs, fit_pairs
from tasks.xanes.mask import mask_pixels
from tasks.xanes.prior import Prior
from tasks.xanes.references import linear_combination, prepare

Facts = dict[str, Any]
Array = NDArray[Any]

STATE_NUMBERS: Final = ("cycle", "seed", "stops_after")
STATE_ARRAYS: Final = tuple(field.name for field in fields(engine.State) if field.name not in STATE_NUMBERS)


def reconstruct(desk: Desk, **arguments: Any) -> Facts:
    """One round of one energy."""
    return engine.alone(reconstructing(desk, **arguments))


def reconstructing(
    desk: Desk,
    *,
    dataset: str,
    scan: ScanFacts,
    measurement: Mapping[str, Any],
    options: ReconstructOptions,
    n_cycles: int,
    index: int | None,
    previous: str | None,
    correction: str | None,
    orientation: str | None = None,
    pilot: str | None = None,
) -> engine.Cycles[Facts]:
    """The same, its cycles asked for: from the scan, or on from the round before with what the other energies say."""
    measured, probe = read_measured(desk, dataset, scan.name, measurement, orientation)
    if previous is None:
        check_orientation(desk, dataset, measured, probe, n_cycles)
        probe = probe if pilot is None else seeded_probe(desk, pilot, measured, probe)
        state = engine.start(scan.canvas, probe, options)
    else:
        state = read_state(desk, previous)
    if correction is not None and index is not None and not state.is_stopped:
        state = read_correction(desk, correction, index).apply(state)
    first = state.cycle
    state = yield from engine.cycles_of(
        measured, scan.canvas, state, n_cycles, options,
        on_cycle=lambda cycle, error: desk.tell(cycle - first, n_cycles, error),
    )  # fmt: skip
    arrays = {name: np.asarray(getattr(state, name)) for name in STATE_ARRAYS}
    arrays["positions_m"] = state.placement(scan.n_positions).positions_m(measured, scan.canvas)
    arrays["dose"] = illumination(scan.canvas, arrays["positions_m"], state.probe)
    arrays["prtf"] = prtf(measured, scan.canvas, state, options.subpixel)
    numbers = {name: getattr(state, name) for name in STATE_NUMBERS} | {"pixel_size_m": scan.canvas.pixel_size_m}
    return desk.write(arrays, **numbers, r_factor=float(state.errors[-1]), **early_end(scan, first, state, options))


def couple(
    desk: Desk,
    *,
    scans: Sequence[ScanFacts],
    absorber: Mapping[str, str],
    formula: str,
    align: AlignOptions,
    kkr: KKROptions,
    states: Sequence[str],
) -> Facts:
    """The barrier between two rounds: what every energy takes back from all of them."""
    spectra, corrections = meet(desk, scans, absorber, formula, align, kkr, states)
    arrays = {f"image{i}": correction.image for i, correction in enumerate(corrections)}
    arrays["gauge"] = np.array([gauge_numbers(correction.gauge) for correction in corrections])
    return desk.write(arrays, **kk_facts(spectra))


def spectra(
    desk: Desk,
    *,
    scans: Sequence[ScanFacts],
    absorber: Mapping[str, str],
    formula: str,
    align: AlignOptions,
    kkr: KKROptions,
    states: Sequence[str],
) -> Facts:
    """The last time all energies meet: one grid, one gauge, absorption and phase that belong together."""
    found, corrections = meet(desk, scans, absorber, formula, align, kkr, states)
    probes = [desk.read(key, "probe")["probe"] for key in states]
    arrays: dict[str, Array] = {
        field.name: np.asarray(getattr(found, field.name)) for field in fields(Spectra) if field.name != "kk_slope"
    }
    arrays["probe"] = np.stack([c.gauge.onto_probe(probe) for c, probe in zip(corrections, probes, strict=True)])
    arrays |= spectrum_sharpness(desk, scans, states, found, corrections)
    r_factor = np.array([desk.read(key, "errors")["errors"][-1] for key in states])
    remarks = standouts(found.energy_ev, r_factor, found.kk_residual, found.shift_px)
    return desk.write(arrays, **kk_facts(found), notes=remarks)


def fit(
    desk: Desk, *, absorber: Mapping[str, str], options: FitOptions, tile: int, n_tiles: int, spectra: str, formula: str = ""
) -> Facts:
    """Eq. 1 fitted to the pixels of one tile of rows, those of the specimen."""
    read = desk.read(spectra, "energy_ev", "absorption", "sample_mask", "sigma_absorption")
    energy_ev, sample = read["energy_ev"], read["sample_mask"]
    edge_ev = Absorber(**absorber).edge_energy_ev
    absorption = at_edge_wavelength(energy_ev, read["absorption"], edge_ev)
    prior = find_prior(energy_ev, absorption[:, sample], read["sigma_absorption"], edge_ev, options)
    rows = tile_rows(sample.shape[0], tile, n_tiles)
    inside = sample[rows].ravel()
    pixels = absorption[:, rows].reshape(len(energy_ev), -1)[:, inside]
    desk.check_stop()
    if options.joint:
        found = fit_with_phase(desk, spectra, (rows, inside), pixels, Absorber(**absorber), formula, prior)
    else:
        found = fit_spectra(energy_ev, pixels, read["sigma_absorption"], edge_ev, prior)
    status = mask_pixels(
        found, options, energy_ev=energy_ev, absorption=pixels, edge_energy_ev=edge_ev,
        sigma_vacuum=float(np.sqrt(np.mean(read["sigma_absorption"] ** 2))),
    )  # fmt: skip
    fitted = [field.name for field in fields(SpectrumFit) if field.name != "status"]
    arrays = {name: spread(getattr(found, name), inside) for name in fitted}
    arrays["status"] = spread(status, inside, fill=Status.MASKED_VACUUM)
    return desk.write(arrays, n_pixels=int(inside.sum()))


def maps(
    desk: Desk,
    *,
    absorber: Mapping[str, str],
    fit: FitOptions,
    options: ChemistryOptions,
    spectra: str,
    tiles: Sequence[str],
) -> Facts:
    """Maps of chemical state: fits of all tiles, and the phase at one energy."""
    read = desk.read(spectra, "energy_ev", "phase", "sigma_phase", "sample_mask")
    pieces = [desk.read(key) for key in tiles]
    whole = {name: np.concatenate([piece[name] for piece in pieces], axis=-1) for name in pieces[0]}
    status = whole["status"]
    energy_ev = read["energy_ev"]
    wanted = options.phase_energy_ev
    index = 0 if wanted == "lowest" else int(np.argmin(np.abs(energy_ev - wanted)))
    found = chemistry_task.chemistry_maps(
        SpectrumFit(**whole), status, read["phase"][index], float(read["sigma_phase"][index]),
        float(energy_ev[index]), Absorber(**absorber), options,
    )  # fmt: skip
    n_kept = int(np.count_nonzero(found["mask"]))
    return desk.write(found, phase_energy_ev=float(energy_ev[index]), n_kept=n_kept)


def references(
    desk: Desk, *, absorber: Mapping[str, str], options: ReferenceOptions, spectra: str, maps: str
) -> Facts:
    """Every kept pixel of one dataset explained as a mixture of the reference compounds."""
    read = desk.read(spectra, "energy_ev", "absorption")
    mask = desk.read(maps, "mask")["mask"]
    edge_ev = Absorber(**absorber).edge_energy_ev
    compounds = prepare(options.xdi, edge_ev)
    pixels = at_edge_wavelength(read["energy_ev"], read["absorption"][:, mask], edge_ev)
    found = linear_combination(read["energy_ev"], pixels, compounds)
    arrays = {
        name: spread(getattr(found, name), mask.ravel()).reshape(*getattr(found, name).shape[:-1], *mask.shape)
        for name in ("fraction", "fraction_sigma", "residual")
    }
    return desk.write(arrays, references=[compound.name for compound in compounds])


def domains(
    desk: Desk,
    *,
    datasets: Sequence[str],
    groups: Sequence[str],
    options: DomainOptions,
    spectra: Sequence[str],
    maps: Sequence[str],
) -> Facts:
    """Pixels of all datasets grouped together, and what each group has in common."""
    read = [desk.read(key) for key in maps]
    kept = [one["mask"] for one in read]
    values = [pick(one, options.descriptors, mask) for one, mask in zip(read, kept, strict=True)]
    sigmas = [
        pick(one, [f"{name}_sigma" for name in options.descriptors], mask) for one, mask in zip(read, kept, strict=True)
    ]
    weights = [one["n_absorber"][mask] for one, mask in zip(read, kept, strict=True)]
    order = [one["edge_energy"][mask] for one, mask in zip(read, kept, strict=True)]
    plain = domains_task.find_domains(values, sigmas, weights, groups, options, order)
    settled = settle_borders(plain, values, kept) if options.borders == "settled" else plain.labels
    found = domains_task.relabelled(plain, settled, values, weights, groups)
    absorption = [desk.read(key, "absorption")["absorption"][:, mask] for key, mask in zip(spectra, kept, strict=True)]
    density = densities(found.labels, values, options.n_domains)
    arrays: dict[str, Array] = {
        "centre": found.centres,
        "inertia": found.inertia,
        "fraction": found.fraction,
        "group_fraction": found.group_fraction,
        "mean_absorption": mean_spectra(found.labels, absorption, options.n_domains),
        "density": density.share,
        "bin_centre": density.bin_centre,
    }
    facts = {"elbow": found.elbow, "groups": list(found.groups), "datasets": list(datasets)}
    if options.replicates:
        desk.check_stop()
        stability = domain_stability(
            values, weights, groups, plain, settled=settled, seed=options.seed, n_replicates=options.replicates
        )
        names = ("fraction_interval", "group_interval", "domain_agreement")
        arrays |= {name: getattr(stability, name) for name in names}
        facts["agreement"] = stability.agreement
    for i, (label, mask) in enumerate(zip(found.labels, kept, strict=True)):
        arrays[f"label{i}"] = spread(label, mask.ravel(), fill=0).reshape(mask.shape)
    return desk.write(arrays, **facts)


FUNCTIONS: Final[Mapping[str, Callable[..., Facts]]] = {
    "orientation": orientation,
    "reconstruct": reconstruct,
    "couple": couple,
    "spectra": spectra,
    "fit": fit,
    "maps": maps,
    "references": references,
    "domains": domains,
    "figures": figures,
    "results": results,
}
"""What computes each stage of `service.graph`."""


def meet(
    desk: Desk,
    scans: Sequence[ScanFacts],
    absorber: Mapping[str, str],
    formula: str,
    align: AlignOptions,
    kkr: KKROptions,
    states: Sequence[str],
) -> tuple[Spectra, list[Correction]]:
    """Bring the objects of all energies together."""
    read = [desk.read(key, "object", "dose") for key in states]
    desk.check_stop()
    return couple_energies(
        [one["object"] for one in read], [one["dose"] for one in read], [scan.canvas for scan in scans],
        np.array([scan.energy_ev for scan in scans]) + align.energy_offset_ev, Absorber(**absorber), formula, align, kkr,
    )  # fmt: skip


def fit_with_phase(
    desk: Desk, spectra: str, where: tuple[slice, Array], absorption: Array, absorber: Absorber, formula: str,
    prior: Prior | None,
) -> SpectrumFit:  # fmt: skip
    """Eq. 1 fitted to absorption (E, n) and phase together, ``where`` the rows of the tile and its pixels inside."""
    read = desk.read(spectra, "energy_ev", "phase", "sigma_absorption", "sigma_phase")
    energy_ev, edge_ev = read["energy_ev"], absorber.edge_energy_ev
    phase = read["phase"][:, where[0]].reshape(len(energy_ev), -1)[:, where[1]]
    columns = outside_columns(energy_ev, absorber, formula)
    electrons, sigma_a, sigma_phi = (
        at_edge_wavelength(energy_ev, values, edge_ev) for values in (-phase, read["sigma_absorption"], read["sigma_phase"])
    )
    return fit_pairs(Pairs(energy_ev, absorption, electrons, sigma_a, sigma_phi, columns), edge_ev, prior)


def read_state(desk: Desk, key: str) -> engine.State:
    """The state that a finished round left."""
    numbers = desk.units.attrs(key)
    contents: Facts = {**desk.read(key, *STATE_ARRAYS), **{name: numbers[name] for name in STATE_NUMBERS}}
    return engine.State(**contents)


def early_end(scan: ScanFacts, first: int, state: engine.State, options: ReconstructOptions) -> Facts:
    """What the run is told where an energy ended early in this round, which began after ``first`` cycles; else nothing."""
    if not state.is_stopped or state.cycle == first:
        return {}
    text = f"{scan.energy_ev:.1f} eV: R has settled, stopped after {state.cycle} of {options.cycles} cycles"
    return {"notes": [text]}


def read_correction(desk: Desk, key: str, index: int) -> Correction:
    """What one energy takes back from a barrier."""
    arrays = desk.read(key, f"image{index}", "gauge")
    log_gain, phase_rad, slope_y, slope_x = (float(value) for value in arrays["gauge"][index])
    return Correction(arrays[f"image{index}"], Gauge(log_gain, phase_rad, (slope_y, slope_x)))


def gauge_numbers(gauge: Gauge) -> list[float]:
    """A gauge as four numbers; `read_correction` reads them back."""
    return [gauge.log_gain, gauge.phase_rad, *gauge.slope_rad_px]


def kk_facts(found: Spectra) -> dict[str, float]:
    """How well the Kramers-Kronig relation holds, over all energies."""
    return {
        "kk_residual_before": float(np.mean(found.kk_residual_before)),
        "kk_residual": float(np.mean(found.kk_residual)),
        "kk_slope": float(found.kk_slope),
    }


def tile_rows(n_rows: int, tile: int, n_tiles: int) -> slice:
    """Rows of one tile; all tiles together are all rows, each once."""
    return slice(tile * n_rows // n_tiles, (tile + 1) * n_rows // n_tiles)


def spread(values: Array, inside: Array, fill: float = np.nan) -> Array:
    """(..., n) values of the pixels ``inside`` (N,), in their places among all N; ``fill`` elsewhere."""
    whole = np.full((*values.shape[:-1], inside.size), fill, dtype=values.dtype)
    whole[..., inside] = values
    return whole


def pick(maps: Mapping[str, Array], names: Sequence[str], kept: Array) -> Array:
    """(D, n) maps of these names at the kept pixels; NaN for one that is not there."""
    return np.stack([maps[name][kept] if name in maps else np.full(int(kept.sum()), np.nan) for name in names])
