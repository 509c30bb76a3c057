"""The form in which a browser's user gives a key."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.access.credentials import COOKIE, SIGN_IN
from api.pages.templating import TEMPLATES

router = APIRouter(include_in_schema=False)


@router.get(SIGN_IN, response_class=HTMLResponse)
def show_sign_in(request: Request, to: Annotated[str, Query(alias="next")] = "/") -> Response:
    """The form for a key."""
    context = {"next": local_address(to), "is_refused": False, "has_cookie": COOKIE in request.cookies}
    return TEMPLATES.TemplateResponse(request, "sign-in.html", context)


@router.post(SIGN_IN)
async def sign_in(request: Request) -> Response:
    """Keep a valid key in a cookie that scripts cannot read and other sites' forms do not send; an empty one signs out."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    secret, to = (fields.get(name, [""])[0].strip() for name in ("key", "next"))
    keys = request.app.state.keys
    response: Response = RedirectResponse(local_address(to), 303)
    if keys is not None and keys.find(secret) is not None:
        is_https = request.url.scheme == "https"
        response.set_cookie(COOKIE, secret, httponly=True, samesite="lax", secure=is_https)
        return response
    context = {"next": local_address(to), "is_refused": bool(secret)}
    response = TEMPLATES.TemplateResponse(request, "sign-in.html", context, status_code=401 if secret else 200)
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return response


def local_address(address: str) -> str:
    """An address on this host; the page for any other."""
    return address if address.startswith("/") and not address.startswith(("//", "/\\", SIGN_IN)) else "/"
