"""What runs have published, as files, pictures, spectra, tables and exports; of an unfinished run, what can be seen already."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from service.errors import NotFoundError, ResultsLostError, ResultsNotReadyError
from service.records.run_inputs import RunInputReader
from service.records.views import FigureView, RunView
from service.results.area_spectra import Area, AreaSpectrum, read_area_spectrum
from service.results.energy_table import EnergyRow, partial_rows, published_rows
from service.results.exports import Exported, write_export
from service.results.figures import Form, draw_figure
from service.results.previews import PARTIAL, draw, read_image, read_partial_image
from service.settings import DataPaths, Settings
from service.stages.pipeline import build_graph
from service.workflow.graph import Graph
from service.workflow.quotas import check_free_disk
from storage.artifacts import ArtifactStore
from storage.errors import ResultsDamagedError, ResultsError
from storage.figures import FigureStore
from storage.location import body_of
from storage.results import ResultsStore
from tasks.options.run import OPTIONS


class PublishedResults:
    """The results and figures of runs.

    Parameters
    ----------
    settings : Settings
    paths : DataPaths
    inputs : RunInputReader
    get : callable
        The run of an identifier; raises `NotFoundError` where there is none.
    """

    def __init__(self, settings: Settings, paths: DataPaths, inputs: RunInputReader, get: Callable[[str], RunView]) -> None:
        self._settings = settings
        self._paths = paths
        self._inputs = inputs
        self._get = get

    def file(self, run_id: str, key: str) -> Path | bytes:
        """The file of one key of the results store, or its content where that lies in an object store.

        Raises
        ------
        ResultsNotReadyError
            The store is not sealed.
        ResultsLostError
            The file is no longer what was sealed.
        NotFoundError
            The sealed store holds no such key.
        """
        view = self._get(run_id)
        with readable(view):
            found = self._results(view).resolve_key(key)
        if found is None:
            raise NotFoundError(f"the results of run {run_id} hold no {key!r}")
        return body_of(found)

    def figures(self, run_id: str) -> Sequence[FigureView]:
        """Every figure of a run, in the order of the analysis.

        Raises
        ------
        ResultsNotReadyError, ResultsLostError
        """
        view = self._get(run_id)
        with readable(view, "figures"):
            listed = self._figures(view).listed()
        return [FigureView(item["name"], item.get("title", item["name"]), item.get("dataset")) for item in listed]

    def figure(self, run_id: str, name: str) -> Path | bytes:
        """The PNG of one figure, its path or its content; only names that are listed, so that none leads elsewhere.

        Raises
        ------
        NotFoundError, ResultsNotReadyError, ResultsLostError
        """
        view = self._get(run_id)
        with readable(view, "figures"):
            found = self._figures(view).path(name)
        if found is None:
            raise NotFoundError(f"run {run_id} has no figure {name!r}")
        return body_of(found)

    def drawn_figure(self, run_id: str, name: str, form: Form) -> bytes:
        """One figure as PDF, SVG or PNG for a dark page.

        Raises
        ------
        NotFoundError, ResultsNotReadyError, ResultsLostError
        """
        self.figure(run_id, name)
        view = self._get(run_id)
        with readable(view):
            return draw_figure(self._results(view), OPTIONS.validate_python(dict(view.options)), name, form)

    def image(
        self,
        run_id: str,
        dataset: str,
        variable: str,
        energy_ev: float | None = None,
        cmap: str | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
        width: int = 800,
        plain: bool = False,
    ) -> bytes:
        """Any array over y and x as a PNG; until results are published, absorption and phase as far as they have come.

        Parameters as in `api.schemas.requests.ImageQuery`; ``plain`` draws the pixels alone.

        Raises
        ------
        NotFoundError
            No such image.
        ResultsNotReadyError
            It will come with the results.
        ResultsLostError
            The array is no longer what was sealed.
        InvalidOptionError
            A colour map, limits or a width that mean nothing.
        """
        view = self._get(run_id)
        if dataset not in view.datasets:
            raise NotFoundError(f"run {run_id} is not on a dataset {dataset}")
        store = ResultsStore(self._paths.results(run_id))
        if store.is_sealed():
            with readable(view):
                picture = read_image(store, dataset, variable, energy_ev)
        elif variable in PARTIAL:
            artifacts = ArtifactStore(self._paths.artifacts)
            picture = read_partial_image(artifacts, self._graph(view, [dataset]), variable, energy_ev, is_cropped=plain)
        else:
            raise not_ready(view)
        return draw(picture, cmap=cmap, vmin=vmin, vmax=vmax, width=width, plain=plain)

    def spectra(self, run_id: str, areas: Sequence[Area]) -> list[AreaSpectrum]:
        """Spectra, fits and ratios of areas of the published images.

        Raises
        ------
        ResultsNotReadyError, ResultsLostError
        NotFoundError, InvalidInputError
            An area of no dataset of this run, or outside its image.
        """
        view = self._get(run_id)
        with readable(view):
            store = self._results(view)
            return [read_area_spectrum(store, area, f"areas.{i}") for i, area in enumerate(areas)]

    def export(self, run_id: str, form: str, dataset: str | None = None) -> Exported:
        """The published results as a file of another program, of all datasets or of one.

        Raises as `spectra` does, and StorageFullError.
        """
        view = self._get(run_id)
        check_free_disk(self._settings)
        with readable(view):
            return write_export(self._results(view), run_id, view.datasets, form, dataset, self._settings.uploads_dir)

    def energies(self, run_id: str) -> list[EnergyRow]:
        """How each energy came out, of every dataset as far as it was reconstructed.

        Raises
        ------
        ResultsLostError
        """
        view = self._get(run_id)
        store = ResultsStore(self._paths.results(run_id))
        if store.is_sealed():
            with readable(view):
                return [row for dataset in view.datasets for row in published_rows(store, dataset)]
        graph, artifacts = self._graph(view, view.datasets), ArtifactStore(self._paths.artifacts)
        return [row for dataset in view.datasets for row in partial_rows(artifacts, graph, dataset)]

    def _results(self, view: RunView) -> ResultsStore:
        store = ResultsStore(self._paths.results(view.id))
        if not store.is_sealed():
            raise not_ready(view)
        return store

    def _figures(self, view: RunView) -> FigureStore:
        self._results(view)
        return FigureStore(self._paths.figures(view.id))

    def _graph(self, view: RunView, datasets: Sequence[str]) -> Graph:
        return build_graph(self._inputs.read(datasets), OPTIONS.validate_python(dict(view.options)), view.id)


def not_ready(view: RunView, what: str = "results") -> ResultsNotReadyError | ResultsLostError:
    """Why a run has no results, or no figures, to read."""
    if view.state == "succeeded":
        return ResultsLostError(f"the {what} of run {view.id} are gone; try the run again to compute them")
    return ResultsNotReadyError(f"run {view.id} is {view.state}: its {what} are not published")


@contextlib.contextmanager
def readable(view: RunView, what: str = "results") -> Iterator[None]:
    """Raise what the stores say of published results as the service's errors."""
    try:
        yield
    except ResultsDamagedError as error:
        raise ResultsLostError(f"run {view.id}: {error}") from error
    except ResultsError as error:
        raise not_ready(view, what) from error
