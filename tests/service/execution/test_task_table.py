"""Which tasks there are, and which results Dask still has to keep."""

from dataclasses import dataclass
from typing import Any, ClassVar

from service.execution.task_table import Task, TaskTable
from service.workflow.step import Step, StepAttributes, StepRef


@dataclass(frozen=True, kw_only=True)
class Plain(Step):
    """A step that reads others."""

    stage: ClassVar[str] = "plain"
    version: ClassVar[int] = 1

    reads: tuple[StepRef[Step], ...] = ()
    number: int = 0

    def run(self, context: Any) -> StepAttributes:
        raise NotImplementedError


def diamond() -> tuple[TaskTable, dict[str, Task]]:
    """a -> b, c -> d, and e beside them."""
    table = TaskTable()
    a = Plain(label="-a", number=1)
    b, c = Plain(label="-b", number=2, reads=(a.ref,)), Plain(label="-c", number=3, reads=(a.ref,))
    d, e = Plain(label="-d", reads=(b.ref, c.ref)), Plain(label="-e", number=5)
    return table, {step.label[1]: table.add(f"task-{step.label[1]}", (step,)) for step in (a, b, c, d, e)}


def test_inputs_are_the_tasks_that_have_not_ended() -> None:
    table, tasks = diamond()
    assert [task.key for task in tasks["d"].inputs] == ["task-b", "task-c"]
    assert table.end(tasks["e"]) == ["task-e"]
    late = table.add("task-f", (Plain(label="-f", reads=(tasks["e"].steps[0].ref, tasks["a"].steps[0].ref)),))
    assert late.inputs == (tasks["a"],), "what has ended is read from disk"


def test_a_result_is_kept_until_no_task_reads_it() -> None:
    table, tasks = diamond()
    assert table.end(tasks["a"]) == []
    assert table.of_step(tasks["a"].steps[0].key) is None
    assert table.get("task-a") is None
    assert table.end(tasks["b"]) == []
    assert table.end(tasks["c"]) == ["task-a"]
    assert sorted(table.end(tasks["d"])) == ["task-b", "task-c", "task-d"]
    assert [task.key for task in table] == ["task-e"]


def test_tasks_are_ready_when_their_inputs_have_ended() -> None:
    table, tasks = diamond()
    assert [name for name, task in tasks.items() if task.is_ready] == ["a", "e"]
    tasks["a"].has_begun = True
    table.end(tasks["a"])
    assert [name for name, task in tasks.items() if task.is_ready and not task.has_ended] == ["b", "c", "e"]


def test_with_a_task_those_that_read_it_are_withdrawn() -> None:
    table, tasks = diamond()
    table.end(tasks["a"])
    dropped, keys = table.withdraw([tasks["b"]])
    assert {task.key for task in dropped} == {"task-b", "task-d"}
    assert sorted(keys) == ["task-b", "task-d"]
    assert {task.key for task in table} == {"task-c", "task-e"}
    assert table.withdraw([tasks["b"]]) == ([tasks["b"]], []), "it was withdrawn already"
    assert sorted(table.end(tasks["c"])) == ["task-a", "task-c"]


def test_what_was_withdrawn_may_come_again() -> None:
    table, tasks = diamond()
    table.withdraw([tasks["a"]])
    assert [task.key for task in table] == ["task-e"]
    again = table.add("task-a-2", tasks["a"].steps)
    assert table.of_step(again.steps[0].key) is again
