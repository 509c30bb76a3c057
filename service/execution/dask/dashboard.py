"""The dashboard of an embedded cluster behind a token, and the address at which a browser reaches a dashboard.

Dask's dashboard asks nobody who they are and accepts every ``Host`` and ``Origin``, and its pages name runs. A first request
with the token in its query gets it as a cookie, which a browser sends with all that follows, web sockets included, but not
with requests that another site makes.
"""

import hmac
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs, urlsplit

from distributed import LocalCluster
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, RequestHandler

COOKIE: Final = "ptyxas-dask"
REACH_S: Final = 0.3
"""Longest wait for a dashboard on this machine or near it."""


class ForbiddenHandler(RequestHandler):
    """Answers 403 to who has no token."""

    def prepare(self) -> None:
        """Refuse every method."""
        self.set_status(403)
        self.finish("This dashboard is reached through /dask of the ptyxas service, which knows its token.\n")


class SignInHandler(RequestHandler):
    """Puts the token of the query into a cookie, and goes on to the page itself."""

    def get(self, *_: str) -> None:
        """Redirect to the same path without the token."""
        self.set_cookie(COOKIE, self.get_argument("token"), httponly=True, samesite="Strict")
        self.redirect(self.request.path)


class TokenRouter(Router):
    """Lets those requests through to an application that carry its token.

    Parameters
    ----------
    application : tornado.web.Application
    token : str
    """

    def __init__(self, application: Application, token: str) -> None:
        self._application, self._token = application, token
        self._own = Application()

    def find_handler(self, request: HTTPServerRequest, **kwargs: object) -> HTTPMessageDelegate:
        """The application's own handler, the one that sets the cookie, or a refusal."""
        if self._is_token(cookie_of(request)):
            found = self._application.find_handler(request, **kwargs)
            assert found is not None
            return found
        given = parse_qs(request.query).get("token", [""])[0]
        handler = SignInHandler if self._is_token(given) and request.method == "GET" else ForbiddenHandler
        return self._own.get_handler_delegate(request, handler)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def cookie_of(request: HTTPServerRequest) -> str:
    """The token that a request carries as a cookie; empty where it has none."""
    try:
        morsel = SimpleCookie(request.headers.get("Cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def protect(cluster: LocalCluster) -> str:
    """Put the dashboard of an embedded cluster behind a new token, and return the token."""
    token = secrets.token_urlsafe(24)
    scheduler = cluster.scheduler
    scheduler.http_server.request_callback = TokenRouter(scheduler.http_application, token)
    return token


def reachable(link: str) -> str | None:
    """The address at which a dashboard answers: ``link``, or its port on loopback; None where neither does.

    A scheduler names its dashboard by its own address, also where the dashboard listens on loopback only.
    """
    parts = urlsplit(link)
    for host in (parts.hostname, "127.0.0.1"):
        try:
            with socket.create_connection((host, parts.port or 80), timeout=REACH_S):
                return link if host == parts.hostname else parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl()
        except OSError:
            continue
    return None
