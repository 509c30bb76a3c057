"""Events of a run as they happen (Server-Sent Events)."""

import asyncio
import contextlib
from collections.abc import AsyncIterable, Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from api.dependencies import KeyCheckDep, RunId, ServiceDep
from api.openapi import problems
from service.bootstrap import Service
from service.errors import NotFoundError
from service.records.views import ENDED, MOST_EVENTS

router = APIRouter(prefix="/runs", tags=["runs"])

LOOK_S: Final = 0.5
"""Longest time until a follower sees what no change announces: that the service stops, or that its key has gone [s]."""
LastEventId = Annotated[int, Header(ge=0, le=2**63 - 1, description="The last event seen; those after it follow.")]


def known_run(run_id: RunId, service: ServiceDep) -> str:
    """``run_id`` of a run that exists; checked before the stream starts, so that an unknown run is answered 404."""
    return service.runs.get(run_id).id


@router.get("/{run_id}/events", response_class=EventSourceResponse, responses=problems(404, 422))
async def follow_run(
    run_id: Annotated[str, Depends(known_run)],
    service: ServiceDep,
    request: Request,
    is_key_valid: KeyCheckDep,
    last_event_id: LastEventId = 0,
) -> AsyncIterable[ServerSentEvent]:
    """Events of a run: all so far, then each as it happens, then ``end``; resumes after ``Last-Event-ID``."""
    closing = request.app.state.closing
    async for event in events_after(service, run_id, last_event_id, lambda: not closing.is_set() and is_key_valid()):
        yield event


async def events_after(
    service: Service, run_id: str, after: int, may_go_on: Callable[[], bool]
) -> AsyncIterable[ServerSentEvent]:
    """Yield events with an id above ``after`` until the run has ended or is removed, or while ``may_go_on`` says so."""
    yield ServerSentEvent(retry=1000)
    changed, loop = asyncio.Event(), asyncio.get_running_loop()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the server has stopped
            loop.call_soon_threadsafe(changed.set)

    with service.runs.watching(run_id, wake):
        while may_go_on():
            changed.clear()
            try:
                found = service.runs.follow_in_memory(run_id, after)
                state, events = found if found is not None else await run_in_threadpool(service.runs.follow, run_id, after)
            except NotFoundError:
                # removed meanwhile: who asks again is answered 404
                return
            for event in events:
                after = event.id
                # FastAPI would walk through the data in search of objects; it is JSON already
                data = to_json({"kind": event.kind, "time": event.time.isoformat(), **event.data}).decode()
                yield ServerSentEvent(raw_data=data, event=event.kind, id=str(event.id))
            if len(events) == MOST_EVENTS:
                continue
            if state in ENDED:
                yield ServerSentEvent(data={"state": state}, event="end")
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await changed.wait()
