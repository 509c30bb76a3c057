"""The documentation as pages: `/documentation`."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from api.pages.documentation import FOLDER, contents, html_of, page_names, title
from api.pages.templating import TEMPLATES
from api.responses import send_file
from service.errors import NotFoundError

router = APIRouter(include_in_schema=False)

PICTURES: Final = {".png": "image/png", ".svg": "image/svg+xml"}


@router.get("/documentation", response_class=HTMLResponse)
def get_contents(request: Request) -> Response:
    """What there is to read."""
    return TEMPLATES.TemplateResponse(request, "documentation.html", {"chapters": contents(), "title": "Documentation"})


@router.get("/documentation/{name:path}", response_class=HTMLResponse)
def get_documentation(request: Request, name: str) -> Response:
    """One page, or a picture of one."""
    picture = FOLDER / name
    if picture.suffix in PICTURES and picture in [*FOLDER.rglob(f"*{picture.suffix}")]:
        return send_file(request, picture, PICTURES[picture.suffix])
    page = name.removesuffix(".md")
    if page not in page_names():
        raise NotFoundError(f"the documentation has no page {name!r}")
    shown = {"chapters": contents(), "title": title(page), "page": page, "text": html_of(page)}
    return TEMPLATES.TemplateResponse(request, "documentation.html", shown)
