"""The OpenAPI document and the service agree: whatever is sent, no 5xx, and no answer that is not documented."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api.app import create_app
from service.settings import Settings

N_EXAMPLES = 6
"""Of what is drawn at random for an operation; boundary values come on top."""
KNOWN: dict[str, str] = {}
"""Path parameters that lead somewhere: half of the calls use them."""


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory, serve: Any, quiet_service: Any) -> Iterator[Any]:
    service = quiet_service(Settings(data_dir=tmp_path_factory.mktemp("service"), min_free_bytes=0, max_upload_bytes=1 << 20))
    body = {"title": "t", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}
    with serve(create_app(service)) as url:
        KNOWN["dataset_id"] = httpx.post(f"{url}/api/v1/datasets", json=body).json()["id"]
        KNOWN["run_id"] = httpx.post(f"{url}/api/v1/runs", json={"datasets": [KNOWN["dataset_id"]]}).json()["id"]
        service._runner._records.end_run(KNOWN["run_id"], "cancelled", None)
        yield schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_documented(document: Any, mode: GenerationMode) -> None:
    """With what the document allows, and with what it does not."""
    contradictions, n_operations = [], 0
    for found in document.get_all_operations():
        operation = found.ok()
        n_operations += 1
        try:
            strategy = operation.as_strategy(generation_mode=mode)
            try_out(strategy)
        except Unsatisfiable:  # nothing that the document forbids can be sent to this operation
            continue
        except (AssertionError, BaseExceptionGroup) as error:
            contradictions.append(f"{operation.label}: {error}")
    assert n_operations >= 20
    assert not contradictions, "\n\n".join(contradictions)


def try_out(strategy: Any) -> None:
    """Send what ``strategy`` draws, and compare the answers with the document."""

    @settings(
        max_examples=N_EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    @given(case=strategy)
    def send(case: Any) -> None:
        changes_it = case.method == "DELETE" or case.path.endswith("/retry")
        for name, value in (case.path_parameters or {}).items():
            if name in KNOWN and len(str(value)) % 2 and not changes_it:
                case.path_parameters[name] = KNOWN[name]
        answer = case.call(timeout=30)
        if case.path == "/dask" and answer.status_code == 503:
            return  # there is no cluster in this test
        case.validate_response(answer, excluded_checks=[positive_data_acceptance])
        assert answer.status_code < 500, f"{answer.status_code}: {answer.text}"

    send()
