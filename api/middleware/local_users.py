"""Who may use a service without API keys: the user who runs it, and those to whom the user gives the service's token."""

import hmac
import os

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.credentials import OPEN_PATHS, secret_of, unauthorised
from api.access.peer_user import Endpoint, peer_user
from api.problems import answer_http_error


class LocalUserCheck:
    """ASGI middleware that lets in connections of the service's own user, and requests that carry its token.

    Parameters
    ----------
    app : ASGIApp
    token : str
        Accepted as ``Authorization: Bearer``, or as the password of Basic, for which a browser asks its user.
    accepts_own_user : bool
        Whether the service's own user needs no token.
    """

    def __init__(self, app: ASGIApp, token: str, accepts_own_user: bool = True) -> None:
        self.app, self._token, self._accepts_own_user = app, token.encode(), accepts_own_user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS and not await self._may_enter(scope):
            text = "this service belongs to another user of this machine: its token is needed, which it printed when it started"
            await answer_http_error(Request(scope), unauthorised(text, "token"))(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _may_enter(self, scope: Scope) -> bool:
        given = secret_of(Headers(scope=scope).get("authorization", ""))
        if given:
            return hmac.compare_digest(given.encode(), self._token)
        if not self._accepts_own_user or scope.get("client") is None or scope.get("server") is None:
            return False
        ends = tuple(scope["client"]), tuple(scope["server"])
        # A socket that is still established at the second look was so at the first, when its user was read.
        return await user_at(*ends) == os.geteuid() and await user_at(*ends) == os.geteuid()


async def user_at(client: Endpoint, server: Endpoint) -> int | None:
    """`peer_user`, in a thread only where the kernel's tables have to be read: its answer is there in less time than a thread."""
    user = peer_user(client, server, tables=())
    return await run_in_threadpool(peer_user, client, server) if user is None else user
