"""What may run at all: an engine that loads the files, options that it has, files that are there."""

from dataclasses import replace
from typing import Any

from pydantic import ValidationError as OptionsError

from webapp import engines
from webapp.accounts.models import Team
from webapp.catalog.models import Artifact, CopyState
from webapp.deployments import fitting
from webapp.deployments.models import MAX_REPLICAS
from webapp.deployments.revisions import Contents
from webapp.errors import Conflict, Invalid


def checked(contents: Contents) -> Contents:
    """The contents with options as they are stored: only what was chosen, so that defaults may improve.

    An engine that is not named becomes the first that loads the files. Raises Invalid, and Conflict for files that are
    on their way out.
    """
    if contents.artifact.is_leaving:
        raise _leaving(contents.artifact)
    engine = contents.engine or default_engine(contents.artifact)
    _check_engine(engine)
    problem = why_not(engine, contents.artifact)
    if problem:
        raise Invalid(problem, "Choose another engine or model.", fields={"engine": problem})
    return replace(contents, engine=engine, options=checked_options(engine, contents.options))


def hold_files(artifact: Artifact) -> None:
    """Nobody has the files deleted until the transaction ends. Raises Conflict when somebody already has."""
    if not Artifact.objects.select_for_update().filter(pk=artifact.pk, is_leaving=False).exists():
        raise _leaving(artifact)


def _leaving(artifact: Artifact) -> Conflict:
    message = f"{artifact} is being deleted."
    return Conflict(message, "Choose another model, or fetch it again when it is gone.", fields={"artifact": message})


def loading(artifact: Artifact) -> list[str]:
    """Names of the engines that load the artifact's files, in the order they are offered."""
    return [engine.name for engine in engines.all() if artifact.format in engine.formats]


def default_engine(artifact: Artifact) -> str:
    """The engine for these files when nobody names one; any other where none loads them, for `why_not` to refuse."""
    return next(iter(loading(artifact)), engines.names()[0])


def why_not(engine: str, artifact: Artifact) -> str:
    """Why the engine cannot serve these files and which one can; empty when it can."""
    fitting = loading(artifact)
    if engine in fitting:
        return ""
    files = "GGUF" if artifact.format == "gguf" else artifact.format
    titles = " or ".join(engines.get(name).title for name in fitting)
    can = f"{titles} does." if fitting else "No engine here does."
    return f"{engines.get(engine).title} does not load {files} files, which {artifact} has. {can}"


def checked_options(engine: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options as they are stored. Raises Invalid with a message per option."""
    _check_engine(engine)
    try:
        checked = engines.get(engine).Options.model_validate(options)
    except OptionsError as error:
        fields = {
            "options." + ".".join(str(part) for part in problem["loc"]): str(problem["msg"])
            for problem in error.errors()
        }
        text = "; ".join(f"{name.removeprefix('options.')}: {message}" for name, message in fields.items())
        raise Invalid(text, fields=fields) from error
    return checked.model_dump(mode="json", exclude_unset=True)


def _check_engine(engine: str) -> None:
    if engine not in engines.names():
        message = f"There is no engine {engine!r}; choose among {', '.join(engines.names())}."
        raise Invalid(message, fields={"engine": message})


def check_files(contents: Contents) -> None:
    """There must be a host that has the files, else nothing could ever start."""
    copies = contents.artifact.copies.filter(state=CopyState.PRESENT)
    if contents.host is not None:
        copies = copies.filter(host=contents.host)
    if not copies.exists():
        where = contents.host.name if contents.host else "any host"
        message = f"The files of {contents.artifact} are not on {where}."
        raise Invalid(message, "Get them there first.", fields={"artifact": message})


def check_hardware(contents: Contents, team: Team) -> None:
    """Somewhere it must be able to run: Invalid when no host that has the files has processors or cards for it."""
    if contents.image:  # what that can run is its maker's to know
        return
    why = fitting.why_on_no_hardware(contents.artifact, contents.engine, contents.host, team)
    if why:
        raise Invalid(why, fields={"host" if contents.host else "artifact": why})


def check_count(replicas: int) -> None:
    if not 0 <= replicas <= MAX_REPLICAS:
        message = f"Between 0 and {MAX_REPLICAS} replicas, not {replicas}."
        raise Invalid(message, fields={"replicas": message})
