"""Plans of runs: graphs and what of them is stored, found out beside the run loop, because thousands of steps take seconds."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from service.errors import ServiceError
from service.records.run_repository import RunRecord
from service.records.run_steps import RunStepRepository, RunSteps
from service.stages.pipeline import build_graph, past_rounds
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput
from storage.artifacts import ArtifactStore
from storage.errors import StorageError
from tasks.options.run import RunOptions

log = logging.getLogger(__name__)

LoadInputs = Callable[[Sequence[str], RunOptions], list[RunInput]]
"""Inputs of a run, by the ids of its datasets and its options; raises where they cannot make a run."""


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Attributes
    ----------
    inputs : list of RunInput
        What the graph was built from.
    graph : Graph
    stored : frozenset of str
        Keys of steps that are finished, as far as unfinished ones need them.
    """

    inputs: list[RunInput]
    graph: Graph
    stored: frozenset[str]


def make_plan(
    record: RunRecord, known: Sequence[RunInput], load_inputs: LoadInputs, is_stored: Callable[[str], bool]
) -> Plan | None:
    """The plan of a run; None where its inputs are those that are ``known``, so that its plan has not changed."""
    inputs = load_inputs(record.datasets, record.options)
    if inputs == known:
        return None
    graph = build_graph(inputs, record.options, record.id)
    answers: dict[str, bool] = {}

    def look(key: str) -> bool:
        answers[key] = is_stored(key)
        return answers[key]

    graph.unfinished(look)
    return Plan(inputs, graph, frozenset(key for key, is_there in answers.items() if is_there))


def note_steps(kept: RunStepRepository, run_id: str, inputs: Sequence[RunInput], graph: Graph) -> None:
    """Keep which steps a run that has ended refers to; where that fails, retention finds it out when it has to know."""
    try:
        kept.note(run_id, inputs, RunSteps.of({step.key for step in graph.steps.values()}, past_rounds(graph)))
    except (ServiceError, StorageError) as error:
        log.info("the steps of the run were not written down: %s", error, extra={"run": run_id})


def remove_past_rounds(artifacts: ArtifactStore, graph: Graph, others: Iterable[Graph]) -> None:
    """Remove the rounds that a run, which has succeeded, needs no more and no other run's graph holds."""
    wanted = {step.key for other in others for step in other.steps.values()}
    for key in past_rounds(graph) - wanted:
        try:
            artifacts.delete(key)
        except OSError as error:  # removed by another, or the file system refuses: retention finds it later
            log.warning("a round that is no longer needed could not be removed: %s", error)
