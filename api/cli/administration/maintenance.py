"""Commands for the data folder: gc, verify, backup. They may run beside a running service."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from api.cli.terminal import console, format_bytes, plain_errors, print_table, safe, show_error
from service.retention import MEANINGS, Garbage, Kind, Retention
from service.settings import DataPaths, Settings
from storage.artifacts import ArtifactStore
from storage.atomic import is_there, size_of
from storage.catalogue.catalogue import Catalogue
from storage.catalogue.database import back_up
from storage.datasets.store import DatasetStore
from storage.errors import ArtifactMissingError, ResultsDamagedError, ResultsError
from storage.figures import FigureStore
from storage.location import Location, folders_below
from storage.references import ReferenceStore
from storage.results import ResultsStore

DAY_S: Final = 86400.0

DataDir = Annotated[Path, typer.Option(envvar="PTYXAS_DATA_DIR", help="The service's data_dir.")]
DatabaseUrl = Annotated[str | None, typer.Option(envvar="PTYXAS_DATABASE_URL", help="The service's database_url.")]
DEFAULT_DATA_DIR: Final = Path("ptyxas-data")

commands = typer.Typer()


@commands.command()
def gc(
    remove: Annotated[bool, typer.Option("--remove", help="Remove what was found; without it nothing is removed.")] = False,
    days: Annotated[float, typer.Option(min=0, help="Work younger than this is kept.")] = 7.0,
    run_days: Annotated[
        float | None, typer.Option(min=0, help="Remove runs that ended longer ago as well, with their results.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    database_url: DatabaseUrl = None,
) -> None:
    """Find work that nothing refers to, and remove it with --remove. Measurements are never removed."""
    with plain_errors(), opened(data_dir, database_url) as (settings, catalogue):
        retention = Retention(settings, catalogue)
        found = retention.find(days * DAY_S, None if run_days is None else run_days * DAY_S)
        show_garbage(found)
        if remove:
            for item in found:
                retention.remove(item)
            console.print(f"removed {format_bytes(sum(item.n_bytes for item in found))}")
        elif found:
            console.print("nothing was touched; remove it with [bold]ptyxas gc --remove[/]")


@commands.command()
def verify(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs, or paths of results stores; all runs and datasets if none.")
    ] = None,
    steps: Annotated[bool, typer.Option("--steps", "--units", help="All finished steps as well.")] = False,
    datasets: Annotated[bool, typer.Option(help="Every byte of the measurements, which may take long.")] = True,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Compare results, measurements and finished steps with the digests they were stored with; exits with 1 if a file changed."""
    with plain_errors():
        if not runs:
            require_data_dir(Settings(data_dir=data_dir))
        paths = DataPaths.of(Settings(data_dir=data_dir))
        stores = [store_of(paths, name) for name in runs] if runs else all_stores(paths)
        found = {str(path): results_damage(path) for path in stores}
        looked_at = [f"{len(stores)} results"]
        if datasets and not runs:
            measured = DatasetStore(paths.datasets)
            found |= {dataset_id: measured.verify(dataset_id) for dataset_id in measured.ids()}
            kept = ReferenceStore(Settings(data_dir=data_dir).location("references")).damage()
            found |= {f"reference {name}": [text] for name, text in kept.items()}
            looked_at.append(f"{len(measured.ids())} datasets")
        if steps:
            artifacts = ArtifactStore(paths.artifacts)
            keys = artifacts.keys()
            found |= {key: step_damage(artifacts, key) for key in keys}
            looked_at.append(f"{len(keys)} steps")
    damaged = {name: damage for name, damage in found.items() if damage}
    for name, damage in damaged.items():
        for text in damage:
            show_error(f"{name}: {text}", console)
    console.print(f"{', '.join(looked_at)} looked at, {len(found) - len(damaged)} whole", highlight=False)
    if damaged:
        raise typer.Exit(1)


@commands.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="Folder for the copy of the catalogue.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    database_url: DatabaseUrl = None,
) -> None:
    """Copy the catalogue, also while the service runs, and list what else to copy."""
    with plain_errors():
        settings = Settings(data_dir=data_dir, database_url=database_url)
        paths = DataPaths.of(settings)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"catalogue-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.sqlite"
        back_up(settings.catalogue_url, target)
    console.print(f"copied the catalogue to {safe(target)}", highlight=False, soft_wrap=True)
    copied = (
        (paths.datasets, "measurements: they cannot be computed again"),
        (paths.runs, "results and figures: a retry would have to compute them again"),
        (settings.location("references"), "reference spectra of the projects: they would have to be sent again"),
    )
    rows = [(folder, format_bytes(size_of(folder)), why) for folder, why in copied]
    print_table(("copy after it, with rsync or the like", "size", "why"), rows)
    for text in (
        f"{paths.artifacts} may be left out: it is computed again where needed",
        f"restore: put the copy back as {settings.data_dir / 'catalogue.sqlite'}",
    ):
        console.print(safe(text), highlight=False, soft_wrap=True)


def require_data_dir(settings: Settings) -> None:
    """Refuse a folder that no service works in, where everything would be whole because nothing is there.

    Raises
    ------
    ValueError
    """
    if settings.storage is None and not DataPaths.of(settings).artifacts.is_dir():
        raise ValueError(f"{settings.data_dir} is not the data_dir of a service: it has no finished steps")


@contextmanager
def opened(data_dir: Path, database_url: str | None) -> Iterator[tuple[Settings, Catalogue]]:
    """Settings and catalogue of an existing data folder."""
    settings = Settings(data_dir=data_dir, database_url=database_url)
    require_data_dir(settings)
    with closing(Catalogue(settings.catalogue_url)) as catalogue:
        yield settings, catalogue


def show_garbage(found: list[Garbage]) -> None:
    """Print what was found, by kind."""
    by_kind: dict[Kind, list[Garbage]] = defaultdict(list)
    for item in found:
        by_kind[item.kind].append(item)
    rows = []
    for kind, meaning in MEANINGS.items():
        these = by_kind[kind]
        oldest = f"{max((item.age_s for item in these), default=0) / DAY_S:.1f} d" if these else ""
        rows.append((len(these), format_bytes(sum(item.n_bytes for item in these)), oldest, meaning))
    print_table(("things", "size", "oldest", "what they are"), rows)


def store_of(paths: DataPaths, name: str) -> Location:
    """Path of the results store that a run's id, or a path, names."""
    path = paths.results(name) if name.startswith("run_") else Path(name)
    if not path.is_dir():
        raise ValueError(f"there are no results of {name}: {path} is not there")
    return path


def all_stores(paths: DataPaths) -> list[Location]:
    """Every results store there is."""
    return [paths.results(path.name) for path in sorted(folders_below(paths.runs)) if is_there(paths.results(path.name))]


def results_damage(path: Location) -> list[str]:
    """What is wrong with a results store, and with the figures beside it."""
    try:
        damage = ResultsStore(path).verify()
    except ResultsError as error:
        return [str(error)]
    try:
        return [*damage, *FigureStore(path.parent / "figures").damage()]
    except ResultsDamagedError as error:
        return [*damage, str(error)]
    except ResultsError:  # a results store elsewhere has no figures beside it
        return damage


def step_damage(artifacts: ArtifactStore, key: str) -> list[str]:
    """What is wrong with a finished step; nothing where it was removed meanwhile."""
    try:
        return artifacts.verify(key)
    except ArtifactMissingError:
        return []
