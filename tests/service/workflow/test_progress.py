"""Walking a graph: what is ready, what is never asked for again, how far it is."""

from pydantic import TypeAdapter

from service.workflow.graph import Graph, build_graph
from service.workflow.inputs import RunInput, ScanInput
from service.workflow.progress import RunProgress, cost_to_come, fair_share, unfinished
from tasks.options import RunOptions
from tasks.ptycho.scan import Canvas


def facts(n_energies: int, is_open: bool = False) -> RunInput:
    canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"s{i}", 5420.0 + 10 * i, 16, 32, "", canvas) for i in range(n_energies))
    return RunInput("ds_a", "a", "g", "LiVO2", {"element": "V", "edge": "K"}, {}, scans, is_open)


def diamond() -> Graph:
    """a -> b, c -> d."""
    graph = Graph()
    a = graph.add("reconstruct", "-a", {}, {}, cost=6)
    b = graph.add("fit", "-b", {"n": 1}, {"x": a}, cost=1)
    c = graph.add("fit", "-c", {"n": 2}, {"x": a}, cost=1)
    graph.add("maps", "-d", {}, {"x": [b, c]}, cost=2)
    return graph


def walk(kept: set[str] = frozenset()) -> RunProgress:
    graph = diamond()
    walk = RunProgress("run_1", graph)
    walk.follow(graph, lambda key: any(graph.units[name].key == key for name in kept))
    return walk


def test_a_live_run_is_never_told_to_be_done():
    options = TypeAdapter(RunOptions).validate_python({"reconstruct": {"cycles": 30}, "kkr": {"start": 10, "every": 10}})
    shares = []
    for n in (0, 1, 12):
        live = [facts(n, is_open=True)]
        walk = RunProgress("run_1", build_graph(live, options, "run_1"))
        walk.cost_to_come = cost_to_come(live, options, walk.graph)
        walk.done, walk.began = set(walk.graph.units), 0.0
        shares.append(walk.progress())
        assert walk.eta_s() is None
    assert shares[0] == 0.0
    assert 0.0 < shares[1] < 0.5
    assert 0.0 < shares[2] < 0.4  # a third of the cycles, and nothing of what follows
    sealed = [facts(12)]
    assert cost_to_come(sealed, options, build_graph(sealed, options, "run_1")) == 0.0


def test_units_become_ready_when_all_they_need_is_done():
    w = walk()
    order = []
    while not w.is_finished:
        ready = w.ready()
        order.append([unit.name for unit in ready])
        for unit in ready:
            w.start(unit)
        assert w.ready() == []
        for unit in ready:
            w.finish(unit.name)
    assert order == [["reconstruct-a"], ["fit-b", "fit-c"], ["maps-d"]]


def test_nothing_is_asked_of_what_only_finished_units_need():
    asked = []
    graph = diamond()
    kept = {graph.units["fit-b"].key, graph.units["fit-c"].key}
    assert unfinished(graph, lambda key: asked.append(key) or key in kept) == {"maps-d"}
    assert graph.units["reconstruct-a"].key not in asked


def test_a_missing_result_is_computed_again_with_all_it_lacks():
    w = walk(kept={"fit-b"})
    assert [unit.name for unit in w.ready()] == ["reconstruct-a"]


def test_a_dropped_unit_is_ready_again_under_another_attempt():
    w = walk()
    (unit,) = w.ready()
    first = w.start(unit)
    w.drop(unit.name)
    assert w.start(*w.ready()) != first


def test_progress_counts_costs_and_what_is_under_way():
    w = walk()
    assert w.progress() == 0.0
    (unit,) = w.ready()
    w.start(unit)
    w.shares[unit.name] = 0.5
    assert w.progress() == 0.3
    w.finish(unit.name)
    assert w.progress() == 0.6
    stages = {stage.name: (stage.done, stage.total, stage.state) for stage in w.stages()}
    assert stages["reconstruct"] == (1, 1, "done")
    assert stages["fit"] == (0, 2, "waiting")
    assert stages["couple"] == (0, 0, "skipped")


def test_a_graph_that_grows_keeps_what_is_in_flight():
    w = walk()
    (unit,) = w.ready()
    w.start(unit)
    grown = diamond()
    grown.add("domains", "", {}, {"x": grown.units["maps-d"]})
    w.follow(grown, lambda key: False)
    assert unit.name in w.in_flight
    assert w.ready() == []


def test_slots_are_shared_evenly_and_nobody_starves():
    assert [fair_share(4, n) for n in (0, 1, 2, 3, 9)] == [4, 4, 2, 1, 1]
