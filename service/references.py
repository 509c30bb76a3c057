"""Reference spectra of a project: sent once in any known format, and named by every run that needs them."""

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from service.api_keys import DEFAULT_PROJECT
from service.errors import ConflictError, FieldError, InvalidInputError, NotFoundError, TooLargeError
from storage.datasets.scans import NAME
from storage.errors import ReferenceDamagedError
from storage.references import ReferenceStore
from tasks.errors import TaskError
from tasks.options.run import RunOptions
from tasks.options.spectra import MOST_REFERENCE_CHARACTERS, MOST_REFERENCES
from tasks.xanes.references.files import read_spectra, xdi_text
from tasks.xanes.references.xdi import MAX_BYTES, Reference, read_xdi

MOST_KEPT: Final = 500
"""Spectra that a project may keep."""


@dataclass(frozen=True)
class ReferenceView:
    """A spectrum that is kept."""

    name: str
    title: str
    formula: str
    element: str
    edge: str
    n_points: int
    first_ev: float
    last_ev: float
    fault: str = ""


class References:
    """The spectra of one project, that of a service without keys where not said otherwise."""

    def __init__(self, store: ReferenceStore) -> None:
        self._store = store
        self._project = DEFAULT_PROJECT

    def within(self, project: str) -> "References":
        """The same as another project sees it."""
        bound = copy.copy(self)
        bound._project = project
        return bound

    def views(self) -> list[ReferenceView]:
        """All spectra, by name; one that is damaged, with its fault."""
        return [view for name in self._store.names(self._project) if (view := self._view(name))]

    def text(self, name: str) -> str:
        """A spectrum as XDI.

        Raises
        ------
        NotFoundError
        ConflictError
            It is damaged.
        """
        try:
            text = self._read(name)
        except ReferenceDamagedError as error:
            raise ConflictError(str(error)) from error
        if text is None:
            raise NotFoundError(f"there is no reference {name!r}")
        return text

    async def put(self, name: str, stream: AsyncIterator[bytes]) -> list[ReferenceView]:
        """Keep the spectra of one file under ``name``, or ``name.1``, ``name.2``, ... where it holds several.

        Raises
        ------
        TooLargeError
        InvalidInputError
            No spectrum that is known, or more than a project may keep.
        """
        content = bytearray()
        async for part in stream:
            content += part
            if len(content) > MAX_BYTES:
                raise TooLargeError(f"a file of references may have at most {MAX_BYTES} bytes")
        return await asyncio.to_thread(self._keep, name, bytes(content))

    def remove(self, name: str) -> None:
        """Forget a spectrum; runs that were submitted with it have it still.

        Raises
        ------
        NotFoundError
        """
        if not NAME.fullmatch(name) or not self._store.remove(self._project, name):
            raise NotFoundError(f"there is no reference {name!r}")

    def resolved(self, options: RunOptions) -> RunOptions:
        """Options in which the texts of the spectra stand in place of their names.

        Raises
        ------
        InvalidInputError
            A name that is not kept, or more spectra than a run may have.
        """
        names, xdi = options.references.names, options.references.xdi
        if not names:
            return options
        texts, faults = {}, []
        for number, name in enumerate(names):
            try:
                texts[name] = self._read(name)
                message = f"there is no reference {name!r}; PUT it to /references/{name} first" if texts[name] is None else ""
            except ReferenceDamagedError as error:
                message = str(error)
            if message:
                faults.append(FieldError(f"options.references.names.{number}", message))
        if len(names) + len(xdi) > MOST_REFERENCES:
            message = f"a run may have {MOST_REFERENCES} references, got {len(names)} by name and {len(xdi)} as text"
            faults.append(FieldError("options.references.names", message))
        if faults:
            raise InvalidInputError.of(*faults)
        found = tuple(text for text in texts.values() if text is not None)
        return replace(options, references=replace(options.references, names=(), xdi=(*xdi, *found)))

    def _view(self, name: str) -> ReferenceView | None:
        """A spectrum, with its fault where it is damaged; None where it was removed meanwhile."""
        try:
            text = self._read(name)
            return None if text is None else view_of(name, read_xdi(text))
        except (ReferenceDamagedError, TaskError) as error:
            return ReferenceView(name, "", "", "", "", 0, 0.0, 0.0, fault=str(error))

    def _read(self, name: str) -> str | None:
        return self._store.read(self._project, name) if NAME.fullmatch(name) else None

    def _keep(self, name: str, content: bytes) -> list[ReferenceView]:
        try:
            found = read_spectra(content, name)
        except TaskError as error:
            raise InvalidInputError.of(FieldError("body", str(error))) from error
        named = {name if len(found) == 1 else f"{name}.{number}": one for number, one in enumerate(found, 1)}
        texts = {key: xdi_text(one) for key, one in named.items()}
        self._check(texts)
        self._store.keep(self._project, texts)
        return [view_of(key, one) for key, one in named.items()]

    def _check(self, texts: Mapping[str, str]) -> None:
        faults = [
            FieldError("body", f"{name} would be {len(text)} characters, more than {MOST_REFERENCE_CHARACTERS}: leave out points")
            for name, text in texts.items()
            if len(text) > MOST_REFERENCE_CHARACTERS
        ]
        faults += [FieldError("name", f"{name[:40]!r} is no name that can be kept") for name in texts if not NAME.fullmatch(name)]
        n_kept = len({*self._store.names(self._project), *texts})
        if n_kept > MOST_KEPT:
            faults.append(FieldError("body", f"the project would keep {n_kept} references; it may keep {MOST_KEPT}"))
        if faults:
            raise InvalidInputError.of(*faults)


def view_of(name: str, reference: Reference) -> ReferenceView:
    """What is told of a spectrum that is kept under a name."""
    energy_ev = reference.energy_ev
    about = reference.name, reference.formula, reference.element, reference.edge
    return ReferenceView(name, *about, len(energy_ev), float(energy_ev[0]), float(energy_ev[-1]))
