"""Entity tags of JSON answers, so that a client that polls is answered 304 while nothing changes."""

from typing import Final

from fastapi import Request
from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.responses import is_known, tag_of

MAX_BYTES: Final = 1 << 20
"""Longer answers are passed on without a tag: holding them back would cost more than it saves [bytes]."""


class JsonETags:
    """ASGI middleware that gives JSON answers to GET an ``ETag``, and answers 304 if the client has that answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        held: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and is_taggable(message):
                held = message
                return
            if held is None:
                await send(message)
                return
            start, held = held, None
            if message.get("more_body"):
                await send(start)
                await send(message)
                return
            etag = tag_of(message["body"])
            if is_known(Request(scope), etag):
                not_modified = Response(status_code=304, headers={"ETag": etag, "Cache-Control": "no-cache"})
                await not_modified(scope, receive, send)
                return
            headers = MutableHeaders(scope=start)
            headers["ETag"] = etag
            headers.setdefault("Cache-Control", "no-cache")
            await send(start)
            await send(message)

        await self.app(scope, receive, send_tagged)


def is_taggable(start: Message) -> bool:
    """Whether an answer is JSON, whole, of known and small length, and has no entity tag of its own."""
    headers = Headers(raw=start["headers"])
    is_json = headers.get("content-type", "").partition(";")[0] == "application/json"
    is_small = int(headers.get("content-length", MAX_BYTES + 1)) <= MAX_BYTES
    return bool(start["status"] == 200 and is_json and is_small and "etag" not in headers)
