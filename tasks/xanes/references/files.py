"""Files of reference spectra in any of the known formats, and the XDI text that stands for each spectrum in a run."""

from dataclasses import replace

from tasks.xanes.references.athena import is_project, read_project
from tasks.xanes.references.columns import read_columns
from tasks.xanes.references.xdi import MAX_BYTES, UNNAMED, Reference, ReferenceFormatError, read_xdi


def read_spectra(content: bytes, name: str = UNNAMED) -> list[Reference]:
    """Every spectrum of a file: XDI, a project of Athena, or columns of text such as ``.nor``.

    Parameters
    ----------
    content : bytes
    name : str
        What a spectrum is called whose file does not say.

    Raises
    ------
    ReferenceFormatError
        In none of the formats, or damaged.
    """
    if len(content) > MAX_BYTES:
        raise ReferenceFormatError(f"a file of references must be at most {MAX_BYTES} bytes, got {len(content)}")
    if is_project(content):
        return read_project(content)
    if b"\0" in content:
        raise ReferenceFormatError("a file of references must be XDI, a project of Athena, or columns of text; it is binary")
    text = content.decode("utf-8", errors="replace")
    if is_xdi(content):
        found = read_xdi(text)
        return [replace(found, name=name) if found.name == UNNAMED else found]
    return [read_columns(text, name)]


def is_xdi(content: bytes) -> bool:
    """Whether a file begins as XDI does, a byte order mark aside."""
    first = content[:1000].removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0]
    return first.startswith(b"#") and b"XDI/" in first


def xdi_text(reference: Reference) -> str:
    """A spectrum as XDI, which `tasks.xanes.references.xdi.read_xdi` reads back."""
    head = ["#XDI/1.0 ptyxas", "# Column.1: energy eV", "# Column.2: mutrans"]
    known = {"Sample.name": reference.name, "Sample.formula": reference.formula}
    known |= {"Element.symbol": reference.element, "Element.edge": reference.edge}
    head += [f"# {field}: {' '.join(value.replace('||', ' ').split())}" for field, value in known.items() if value.strip()]
    rows = [f"{energy:.4f} {mu:.7g}" for energy, mu in zip(reference.energy_ev, reference.absorption, strict=True)]
    return "\n".join([*head, "#---", *rows, ""])
