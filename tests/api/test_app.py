"""The application as a whole: its document, and that the fake of these tests is like the service."""

import inspect
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from service.api_keys import Key, make_key, write_keys
from service.bootstrap import Service
from service.datasets import Datasets
from service.runs import Runs
from service.settings import Settings


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/api/v1/openapi.json").raise_for_status().json()
    return document


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, op) for path, ops in document["paths"].items() for method, op in ops.items()]


def test_every_operation_of_the_contract_is_documented(document: dict[str, Any]) -> None:
    found = {f"{method.upper()} {path}" for path, method, _ in operations(document)}
    run, dataset = "/api/v1/runs/{run_id}", "/api/v1/datasets/{dataset_id}"
    assert found >= {
        "POST /api/v1/datasets",
        "GET /api/v1/datasets",
        f"GET {dataset}",
        f"DELETE {dataset}",
        f"POST {dataset}/seal",
        f"PUT {dataset}/scans/{{name}}",
        "POST /api/v1/datasets/register",
        "POST /api/v1/runs",
        "GET /api/v1/runs",
        f"GET {run}",
        f"DELETE {run}",
        f"POST {run}/cancel",
        f"POST {run}/retry",
        f"GET {run}/events",
        f"GET {run}/results.zarr/{{key}}",
        f"HEAD {run}/results.zarr/{{key}}",
        f"GET {run}/figures",
        f"GET {run}/figures/{{name}}.png",
        f"GET {run}/images/{{dataset_id}}/{{variable}}.png",
        "GET /api/v1/options",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /version",
        "GET /dask",
    }


def test_operations_have_distinct_names_and_say_what_they_do(document: dict[str, Any]) -> None:
    names = [op["operationId"] for _, _, op in operations(document)]
    assert len(set(names)) == len(names)
    assert [op["operationId"] for _, _, op in operations(document) if not op.get("description")] == []


def test_no_object_of_the_document_has_a_key_twice(client: httpx.Client) -> None:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        assert len(set(names)) == len(names), names
        return dict(pairs)

    json.loads(client.get("/api/v1/openapi.json").text, object_pairs_hook=once)


def test_operations_name_the_scheme_of_the_keys(document: dict[str, Any]) -> None:
    [(name, scheme)] = document["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, method, operation in operations(document):
        open_to_all = path in ("/healthz", "/readyz")
        assert ("security" not in operation) if open_to_all else ({name: []} in operation["security"]), (method, path)
        assert open_to_all or {} in operation["security"], "a service without keys needs none"


def test_a_service_with_keys_says_that_they_are_needed(tmp_path: Path, fake_service: Any) -> None:
    service = fake_service(tmp_path)
    write_keys(tmp_path / "keys", [Key(make_key()[1], "any")])
    service.settings = Settings(data_dir=tmp_path, api_keys_file=tmp_path / "keys")
    document = create_app(service).openapi()
    assert document["paths"]["/api/v1/runs"]["get"]["security"] == [{"ApiKey": []}]


def test_every_enumeration_is_of_one_type(document: dict[str, Any]) -> None:
    def enumerations(node: Any) -> list[list[Any]]:
        if isinstance(node, dict):
            own = [node["enum"]] if isinstance(node.get("enum"), list) else []
            return own + [found for value in node.values() for found in enumerations(value)]
        return [found for item in node for found in enumerations(item)] if isinstance(node, list) else []

    assert [values for values in enumerations(document) if len({type(value) for value in values}) != 1] == []


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [ref for value in node.values() for ref in references(value)]
        return [ref for item in node for ref in references(item)] if isinstance(node, list) else []

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known


def test_refusals_are_documented_as_problems(document: dict[str, Any]) -> None:
    wrong = []
    for path, method, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and list(answer.get("content", {})) != ["application/problem+json"]:
                wrong.append(f"{method} {path} {status}")
    assert wrong == []


def test_bodies_have_examples_that_are_accepted(client: httpx.Client, document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    made = client.post("/api/v1/datasets", json=schemas["DatasetBody"]["examples"][0])
    assert made.status_code == 201
    body = schemas["RunBody"]["examples"][0] | {"datasets": [made.json()["id"]]}
    assert client.post("/api/v1/runs", json=body).status_code == 202


def test_options_are_described_by_their_docstrings(document: dict[str, Any]) -> None:
    cycles = document["components"]["schemas"]["ReconstructOptions"]["properties"]["cycles"]
    assert "cycle" in cycles["description"]
    assert cycles["default"] == "auto"


def test_the_service_is_started_and_stopped_with_the_application(own_server: Any) -> None:
    service = own_server.app.state.service
    assert service.is_running
    own_server.stop()
    assert not service.is_running


@pytest.mark.parametrize(("part", "real"), [("datasets", Datasets), ("runs", Runs)])
def test_the_fake_has_the_interface_of_the_service(service: Any, part: str, real: type) -> None:
    def interface(cls: type) -> dict[str, list[str]]:
        methods = {name: method for name, method in vars(cls).items() if inspect.isfunction(method)}
        return {name: list(inspect.signature(method).parameters) for name, method in methods.items()}

    wanted, faked = interface(real), interface(type(getattr(service, part)))
    both = {name for name in faked if name in wanted and not name.startswith("_")}
    assert len(both) >= 6
    assert {name: faked[name] for name in both} == {name: wanted[name] for name in both}


@pytest.mark.parametrize("name", ["settings", "start", "stop", "dashboard_url", "unready_reason", "versions"])
def test_the_service_has_what_the_application_asks_for(service: Any, name: str) -> None:
    assert hasattr(service, name)
    assert hasattr(Service, name) or name == "settings"
