"""Several energies at a time, for a processor that one energy leaves idle: a graphics card.

Each energy goes its own way (its probe's warm-up, its stumbles, its end) and asks for its gathered cycles; those asked for
together, of one shape, are one call of the same kernel under `jax.vmap`. Frames stay on the device from the first cycle on.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from tasks.ptycho.cycle import COPIES_PX, Frames, gather_probe_over_cycle
from tasks.ptycho.engine import Answer, Cycles, Request, T

TRANSFORM_BUFFERS = 8
"""Arrays of a frame's size that a visit needs at a time, rounded up."""
IMAGE_BUFFERS = 8
"""Arrays of the object's size: object, its velocity, both before and after, and as the batch has them."""


def batch_bytes(n_positions: int, n_pixels: int, n_modes: int, image_shape: tuple[int, int], *, subpixel: bool = True) -> int:
    """Bytes that one energy takes on the device, at most.

    Frames twice (the energy's own and the batch's), the displaced copies of the probe with their two gradients and as
    many transforms beside them, what is gathered in each copy, and the buffers above.
    """
    wave = 8 * n_modes * n_pixels**2
    copies = (6 + 2) * len(COPIES_PX) * wave if subpixel else 2 * wave
    frames = 2 * 4 * n_positions * n_pixels**2
    return frames + copies + TRANSFORM_BUFFERS * wave + IMAGE_BUFFERS * 8 * image_shape[0] * image_shape[1]


def run_together(energies: Sequence[Cycles[T]]) -> list[T]:
    """Run the cycles (`engine.cycles_of`) of several energies in step; what comes of each, in order."""
    ends: dict[int, T] = {}
    answers: dict[int, Answer | None] = dict.fromkeys(range(len(energies)))
    stacks: dict[tuple[int, ...], FrameStacks] = {}
    while answers:
        requests: dict[int, Request] = {}
        for number, answer in answers.items():
            try:
                requests[number] = energies[number].send(answer)
            except StopIteration as end:
                ends[number] = end.value
        answers = {}
        groups = by_shape(requests)
        stacks = {tuple(alike): stacks.get(tuple(alike)) or FrameStacks() for alike in groups}
        for alike in groups:
            found = gather_together([requests[number] for number in alike], stacks[tuple(alike)])
            answers |= dict(zip(alike, found, strict=True))
    return [ends[number] for number in range(len(energies))]


def by_shape(requests: dict[int, Request]) -> list[list[int]]:
    """Numbers of requests that one call can answer, group by group."""
    groups: dict[object, list[int]] = {}
    for number, (image, probe, frames, _, _, regularisation) in requests.items():
        shapes = (image.shape, probe.shape, frames.amplitude.shape, frames.copy_ramp.shape, regularisation)
        groups.setdefault(shapes, []).append(number)
    return list(groups.values())


class FrameStacks:
    """Frames of one group of energies, stacked; what has not changed since the last cycle is not moved again."""

    def __init__(self) -> None:
        self._parts: tuple[tuple[jax.Array, ...], ...] = ()
        self._stacked: list[jax.Array] = []

    def stack(self, frames: Sequence[Frames]) -> Frames:
        """The frames of several energies, each array with one axis more in front."""
        parts = tuple(zip(*frames, strict=True))
        stacked = []
        for index, part in enumerate(parts):
            before = self._parts[index] if self._parts else ()
            unchanged = len(before) == len(part) and all(a is b for a, b in zip(before, part, strict=True))
            stacked.append(self._stacked[index] if unchanged else jnp.stack(part))
        self._parts, self._stacked = parts, stacked
        return Frames(*stacked)


def gather_together(requests: Sequence[Request], stacks: FrameStacks) -> list[Answer]:
    """The answer to each request, all alike in shape."""
    if len(requests) == 1:
        return [gather_probe_over_cycle(*requests[0])]
    images, probes, frames, orders, alphas, _ = zip(*requests, strict=True)
    share = requests[0][5]
    together = jax.vmap(lambda *one: gather_probe_over_cycle(*one, share))
    found = together(
        jnp.stack(images), jnp.stack(probes), stacks.stack(frames), jnp.stack(orders), jnp.asarray(alphas, jnp.float32)
    )
    return [(found[0][e], found[1][e], found[2][e]) for e in range(len(requests))]
