"""Drives reconstructions: one energy alone, or several in step.

In step, cycles of equal shape are one vectorised kernel call, for a processor that one energy does not fill (a graphics card).
Either way each energy follows its own schedule and gives the same result.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp

from tasks.ptycho.kernels.cycle import COPIES_PX, Frames
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.solver import Rule, batch_key, step, step_together
from tasks.ptycho.state import State

TRANSFORM_BUFFERS = 8
"""Number of arrays of a frame's size that a visit needs, rounded up."""
OBJECT_BUFFERS = 8
"""Number of arrays of the object's size: object and momentum buffer, before and after, alone and stacked."""


def run(reconstruction: Reconstruction) -> State:
    """Run one energy to its end."""
    advance(reconstruction)
    return reconstruction.result()


def advance(reconstruction: Reconstruction) -> State:
    """Run all cycles of one energy; the state after the last, without what is found of it in the end, such as the noise's R."""
    while not reconstruction.is_done:
        rule = reconstruction.next_rule()
        reconstruction.accept(step(reconstruction.state, reconstruction.inputs, rule))
    return reconstruction.state


def run_together(reconstructions: Sequence[Reconstruction]) -> Iterator[tuple[int, State]]:
    """Run several energies in step; yields the number and the final state of each as it ends."""
    active = dict(enumerate(reconstructions))
    stacks: dict[tuple[int, ...], BatchedFrames] = {}
    while active:
        for number in [number for number, one in active.items() if one.is_done]:
            yield number, active.pop(number).result()
        rules = {number: one.next_rule() for number, one in active.items()}
        groups = _group_alike(active, rules)
        stacks = {group: stacks.get(group) or BatchedFrames() for group in groups}
        for group in groups:
            members, chosen = [active[number] for number in group], [rules[number] for number in group]
            for member, state in zip(members, _step_group(members, chosen, stacks[group]), strict=True):
                member.accept(state)


class BatchedFrames:
    """Frames of a group of energies stacked along a new first axis; arrays that have not changed are not copied again."""

    def __init__(self) -> None:
        self._parts: tuple[tuple[jax.Array, ...], ...] = ()
        self._stacked: list[jax.Array] = []

    def stack(self, frames: Sequence[Frames]) -> Frames:
        """The stacked frames of several energies."""
        parts = tuple(zip(*frames, strict=True))
        stacked = []
        for index, part in enumerate(parts):
            before = self._parts[index] if self._parts else ()
            unchanged = len(before) == len(part) and all(a is b for a, b in zip(before, part, strict=True))
            stacked.append(self._stacked[index] if unchanged else jnp.stack(part))
        self._parts, self._stacked = parts, stacked
        return Frames(*stacked)


def _group_alike(active: Mapping[int, Reconstruction], rules: Mapping[int, Rule]) -> list[tuple[int, ...]]:
    """Numbers of the energies that can be stepped together, group by group."""
    groups: dict[Hashable, list[int]] = {}
    for number, one in active.items():
        key = batch_key(one.state, one.inputs, rules[number])
        groups.setdefault(number if key is None else key, []).append(number)
    return [tuple(numbers) for numbers in groups.values()]


def _step_group(group: Sequence[Reconstruction], rules: Sequence[Rule], stack: BatchedFrames) -> list[State]:
    if len(group) == 1:
        return [step(group[0].state, group[0].inputs, rules[0])]
    frames = stack.stack([one.inputs.frames for one in group])
    return step_together([one.state for one in group], [one.inputs for one in group], rules, frames)


def batch_bytes(n_positions: int, n_pixels: int, n_modes: int, object_shape: tuple[int, int], *, subpixel: bool = True) -> int:
    """Bytes that one energy of a batch takes on the device, at most.

    Frames twice (the energy's own and the batch's) and a quarter of them again for the half detector, the displaced copies of the
    probe with their two gradients and as many transforms beside them, what is gathered in each copy, and the buffers above.
    """
    wave = 8 * n_modes * n_pixels**2
    copies = (6 + 2) * len(COPIES_PX) * wave if subpixel else 2 * wave
    frames = 2 * (4 + 1) * n_positions * n_pixels**2
    return frames + copies + TRANSFORM_BUFFERS * wave + OBJECT_BUFFERS * 8 * object_shape[0] * object_shape[1]
