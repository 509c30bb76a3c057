"""Which Dask tasks there are, of which steps, for which runs, and which of them read which."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from service.workflow.step import Step


@dataclass(eq=False)
class Task:
    """One Dask task, of one step or of a batch of steps.

    Attributes
    ----------
    key : str
        Dask's name of it.
    steps : tuple of Step
    inputs : tuple of Task
        Tasks that it reads and that had not ended when it was submitted.
    wanted_by : set of str
        Runs that want its results.
    n_readers : int
        How many tasks that have not ended have it among their inputs. Until there is none, Dask has to keep its result.
    """

    key: str
    steps: tuple[Step, ...]
    inputs: tuple["Task", ...] = ()
    wanted_by: set[str] = field(default_factory=set)
    has_begun: bool = False
    has_ended: bool = False
    n_readers: int = 0

    @property
    def is_batch(self) -> bool:
        """Whether it computes several steps."""
        return len(self.steps) > 1

    @property
    def is_ready(self) -> bool:
        """Whether it waits for a worker, and for nothing else."""
        return not self.has_begun and all(task.has_ended for task in self.inputs)


class TaskTable:
    """Tasks in the order of their submission: those that have not ended, and those whose results such tasks read."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._of_step: dict[str, Task] = {}

    def __iter__(self) -> Iterator[Task]:
        """Tasks that have not ended."""
        return (task for task in self._tasks.values() if not task.has_ended)

    def get(self, key: str) -> Task | None:
        """The task of a Dask key that has not ended, or None."""
        task = self._tasks.get(key)
        return None if task is None or task.has_ended else task

    def of_step(self, step_key: str) -> Task | None:
        """The task that computes a step, or None."""
        return self._of_step.get(step_key)

    def add(self, key: str, steps: tuple[Step, ...]) -> Task:
        """Add a task; its inputs are those that compute what its steps read, and what none computes is finished."""
        found = (self._of_step.get(read) for step in steps for read in step.inputs)
        inputs = tuple(dict.fromkeys(one for one in found if one is not None))
        task = self._tasks[key] = Task(key, steps, inputs)
        for step in steps:
            self._of_step[step.key] = task
        for read in inputs:
            read.n_readers += 1
        return task

    def end(self, task: Task) -> list[str]:
        """Note that a task ended well; the keys of tasks whose results nothing reads any more."""
        task.has_ended = True
        return self._leave(task)

    def withdraw(self, tasks: Iterable[Task]) -> tuple[list[Task], list[str]]:
        """Drop tasks, and with them every task that reads their results.

        Returns
        -------
        tuple
            The tasks that were dropped, and the keys of all tasks whose results nothing reads any more.
        """
        dropped = dict.fromkeys(tasks)
        for task in self:  # in the order of submission, so that a reader comes after what it reads
            if not dropped.keys().isdisjoint(task.inputs):
                dropped[task] = None
        keys = []
        for task in reversed(dropped):
            if self._tasks.get(task.key) is task:
                task.has_ended = True
                keys += self._leave(task)
        return list(dropped), keys

    def _leave(self, task: Task) -> list[str]:
        for step in task.steps:
            self._of_step.pop(step.key, None)
        for read in task.inputs:
            read.n_readers -= 1
        unread = [one for one in (task, *task.inputs) if one.has_ended and one.n_readers == 0 and one.key in self._tasks]
        for one in unread:
            del self._tasks[one.key]
        task.inputs = ()
        return [one.key for one in unread]
