"""The command options: every option of a run."""

import json
from typing import Annotated

import typer

from api.cli.terminal import print_table
from tasks.options.run import OPTIONS, RunOptions

commands = typer.Typer()


@commands.command()
def options(as_json: Annotated[bool, typer.Option("--json", help="As the JSON schema.")] = False) -> None:
    """List every option of a run with its default and meaning."""
    schema = OPTIONS.json_schema()
    if as_json:
        print(json.dumps(schema, indent=2))
        return
    rows = []
    defaults = OPTIONS.dump_python(RunOptions(), mode="json")
    for stage, values in defaults.items():
        if not isinstance(values, dict):
            rows.append((stage, json.dumps(values), schema["properties"][stage].get("description", "").replace("``", "")))
            continue
        fields = schema["$defs"][schema["properties"][stage]["$ref"].rpartition("/")[2]]["properties"]
        for field, default in values.items():
            rows.append((f"{stage}.{field}", json.dumps(default), fields[field].get("description", "").replace("``", "")))
    print_table(("option", "default", "meaning"), rows)
