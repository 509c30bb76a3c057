"""Runs over HTTP."""

import httpx

RUNS = "/api/v1/runs"


def test_a_run_has_defaults_for_everything(client: httpx.Client, dataset: dict) -> None:
    made = client.post(RUNS, json={"datasets": [dataset["id"]]})
    assert made.status_code == 202
    view = client.get(made.headers["location"]).json()
    assert view["id"] == made.json()["id"]
    assert (view["state"], view["progress"], view["datasets"]) == ("queued", 0.0, [dataset["id"]])
    assert view["options"]["reconstruct"]["cycles"] == 800
    assert {"name": "reconstruct", "done": 0, "total": 4, "state": "waiting", "note": None} in view["stages"]


def test_options_are_taken(client: httpx.Client, dataset: dict) -> None:
    options = {"domains": {"n_domains": 3}, "chemistry": {"phase_energy_ev": 5440}}
    made = client.post(RUNS, json={"datasets": [dataset["id"]], "options": options, "name": "three"}).json()
    assert (made["options"]["domains"]["n_domains"], made["name"]) == (3, "three")
    assert made["options"]["chemistry"]["phase_energy_ev"] == 5440


def test_unknown_and_repeated_datasets_are_refused(client: httpx.Client, dataset: dict) -> None:
    assert client.post(RUNS, json={"datasets": ["ds_none"]}).status_code == 404
    twice = client.post(RUNS, json={"datasets": [dataset["id"]] * 2})
    assert twice.json()["errors"][0]["field"] == "datasets"


def test_an_idempotency_key_names_one_run(client: httpx.Client, dataset: dict) -> None:
    body, headers = {"datasets": [dataset["id"]]}, {"Idempotency-Key": "once"}
    first = client.post(RUNS, json=body, headers=headers).json()
    assert client.post(RUNS, json=body, headers=headers).json()["id"] == first["id"]
    assert client.post(RUNS, json=body).json()["id"] != first["id"]
    other = client.post(RUNS, json=body | {"name": "other"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


def test_cancel_retry_and_delete(client: httpx.Client, run: dict) -> None:
    path = f"{RUNS}/{run['id']}"
    assert client.post(f"{path}/retry").status_code == 409
    cancelled = client.post(f"{path}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert client.post(f"{path}/cancel").json()["code"] == "conflict"
    assert client.post(f"{path}/retry").json()["state"] == "queued"
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404


def test_options_have_defaults_and_a_schema(client: httpx.Client) -> None:
    options = client.get("/api/v1/options").json()
    assert options["defaults"]["reconstruct"]["cycles"] == 800
    assert options["defaults"]["kkr"]["mode"] == "joint"
    assert set(options["schema"]["properties"]) == set(options["defaults"])
