"""Unexpected exceptions, answered as problems on a connection that stays open."""

from anyio import BrokenResourceError
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import answer_internal_error


class InternalErrors:
    """ASGI middleware that answers 500 for an exception that no handler knows.

    Starlette's own handler raises the exception again after its answer, so that the server closes the connection and the
    client's next request on it is lost. Here the exception ends, unless the answer has begun: an answer that breaks off must
    break the connection. That a client left in the middle of its answer is no error.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_begun = False

        async def send_noting_start(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_noting_start)
        except Exception as error:
            if has_begun and is_abandonment(error):
                return
            answer = answer_internal_error(Request(scope), error)
            if has_begun:
                raise
            await answer(scope, receive, send)


def is_abandonment(error: Exception) -> bool:
    """Whether all that went wrong is that nobody reads the answer any more, as FastAPI's streams of events say it."""
    if isinstance(error, ExceptionGroup):
        return all(is_abandonment(one) for one in error.exceptions)
    return isinstance(error, BrokenResourceError)
