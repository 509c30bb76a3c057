"""Write the pages that follow from the code: errors, options and settings (``make docs``)."""

import json
import typing
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from api.problems import BY_STATUS, TABLE
from service.settings import Settings
from tasks.options import RunOptions

DOCS = Path(__file__).parent

OPTIONS_HEAD = """# Options of a run

Every option has a default, so `{"datasets": [id]}` is a complete run. They are given by stage, as JSON
(`POST /api/v1/runs`) or on the command line, and are stored with the results. An unknown name is an error. The same
list, as JSON schema: `GET /api/v1/options`, or `ptyxas options --json`.

Changing an option computes again the stages that depend on it, and no others.

This page is written by `make docs`.
"""

ERRORS_HEAD = """# Problem codes

Every error is an `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail` (what happened, in words for
people), `errors` (a list of `{field, message}`, naming every field at fault) and `code`, one of these. Codes are stable;
programs should look at them, not at the words.

This page is written by `make docs`.

| code | status | title | when |
|---|---|---|---|
"""

SETTINGS_HEAD = """# Settings of the service

Each is an environment variable `PTYXAS_<NAME>` or a flag `ptyxas serve --<name>`.

This page is written by `make docs`.

| setting | default | meaning |
|---|---|---|
"""


def cell(text: str) -> str:
    """Text that stays within its cell of a table."""
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def allowed(schema: dict[str, Any]) -> str:
    """What a value may be, in a few words of a JSON schema."""
    if "anyOf" in schema:
        return " or ".join(allowed(one) for one in schema["anyOf"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"list of: {allowed(items)}" if items else f"{schema.get('maxItems', '')} {kind(schema)}".strip()
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = ", ".join(f"{sign} {schema[name]:,}" for name, sign in limits.items() if name in schema)
    return f"{kind(schema)} {bounds}".strip()


def kind(schema: dict[str, Any]) -> str:
    """Word for a JSON type."""
    words = {"integer": "integer", "number": "number", "boolean": "true or false", "null": "none", "array": "numbers"}
    return words.get(schema.get("type", ""), "text")


def errors_page() -> str:
    """Text of ``docs/errors.md``."""
    rows = {(problem.code, problem.status, problem.title, meaning_of(cls)) for cls, problem in TABLE.items()}
    known = {code for code, *_ in rows}
    rows |= {(problem.code, problem.status, problem.title, "") for problem in BY_STATUS.values() if problem.code not in known}
    lines = {}
    for code, status, title, meaning in sorted(rows):
        lines.setdefault((code, status, title), []).append(meaning)
    return ERRORS_HEAD + "".join(
        f"| `{code}` | {status} | {title} | {' '.join(filter(None, meanings))} |\n"
        for (code, status, title), meanings in lines.items()
    )


def meaning_of(error: type[Exception]) -> str:
    """First line of what an error of the house means."""
    is_ours = error.__module__.partition(".")[0] in ("api", "service", "storage", "tasks")
    text = cell((error.__doc__ or "").partition("\n")[0]) if is_ours else ""
    return "" if text.startswith("Root ") else text


def options_page() -> str:
    """Text of ``docs/options.md``."""
    schema = TypeAdapter(RunOptions).json_schema()
    defaults = TypeAdapter(RunOptions).dump_python(RunOptions(), mode="json")
    page = OPTIONS_HEAD
    for stage, values in defaults.items():
        definition = schema["$defs"][typing.get_type_hints(RunOptions)[stage].__name__]
        page += f"\n## {stage}\n\n{definition.get('description', '')}\n\n"
        page += "| option | default | allowed | meaning |\n|---|---|---|---|\n"
        for name, default in values.items():
            field = definition["properties"][name]
            meaning = cell(field.get("description", ""))
            page += f"| `{stage}.{name}` | `{json.dumps(default)}` | {cell(allowed(field))} | {meaning} |\n"
    return page


def settings_page() -> str:
    """Text of ``docs/settings.md``."""
    page = SETTINGS_HEAD
    for name, field in Settings.model_fields.items():
        default = "number of cores" if name == "workers" else "none" if field.default in (None, ()) else field.default
        page += f"| `{name}` | {default} | {cell(field.description or '')} |\n"
    return page


if __name__ == "__main__":
    (DOCS / "errors.md").write_text(errors_page(), encoding="utf-8")
    (DOCS / "options.md").write_text(options_page(), encoding="utf-8")
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
