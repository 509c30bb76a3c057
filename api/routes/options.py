"""Every option of a run, with its default and its schema."""

from fastapi import APIRouter

from api.schemas.answers import OptionsAnswer
from tasks.options.run import OPTIONS, RunOptions

router = APIRouter(tags=["options"])


@router.get("/options")
def list_options() -> OptionsAnswer:
    """Defaults and JSON schema of the options of a run."""
    adapter = OPTIONS
    return OptionsAnswer(defaults=adapter.dump_python(RunOptions(), mode="json"), json_schema=adapter.json_schema())
