"""What may run at all: an engine that loads the files, options that it has, files that are there."""

from dataclasses import replace
from typing import Any, TypeVar

from pydantic import ValidationError as OptionsError

from webapp import engines
from webapp.accounts import ownership
from webapp.accounts.models import Team
from webapp.catalog import images
from webapp.catalog.models import Artifact, CopyState
from webapp.deployments import fit, workload
from webapp.deployments.models import MAX_REPLICAS
from webapp.deployments.spec import RevisionSpec
from webapp.foundation.errors import Conflict, Invalid
from webapp.inventory import labels

MAX_PLACEMENT_LABELS = 16
Spec = TypeVar("Spec", bound=RevisionSpec)


def checked(spec: Spec) -> Spec:
    """The same with options as they are stored: only what was chosen, so that defaults may improve.

    An engine that is not named becomes the first that loads the files. Raises Invalid, also for an image
    that is not allowed, and Conflict for files that are on their way out.
    """
    if spec.artifact.is_leaving:
        raise _leaving(spec.artifact)
    images.check(spec.image)
    engine = spec.engine or default_engine(spec.artifact)
    _check_engine(engine)
    problem = why_not(engine, spec.artifact)
    if problem:
        raise Invalid(problem, "Choose another engine or model.", fields={"engine": problem})
    wanted = tuple(sorted(labels.checked(spec.placement_labels, MAX_PLACEMENT_LABELS, "placement_labels")))
    return replace(spec, engine=engine, options=checked_options(engine, spec.options), placement_labels=wanted)


def hold_files(artifact: Artifact) -> None:
    """Nobody has the files deleted until the transaction ends. Raises Conflict when somebody already has."""
    if not Artifact.objects.select_for_update().filter(pk=artifact.pk, is_leaving=False).exists():
        raise _leaving(artifact)


def check_shared(artifact: Artifact, team: Team) -> None:
    """The deployment's team may use the files at this moment. Raises Conflict."""
    ownership.check_usable(artifact, team, "artifact")


def _leaving(artifact: Artifact) -> Conflict:
    message = f"{artifact} is being deleted."
    return Conflict(message, "Choose another model, or fetch it again when it is gone.", fields={"artifact": message})


def loading(artifact: Artifact) -> list[str]:
    """Names of the engines that load the artifact's files, in the order they are offered."""
    return workload.loading(artifact.format)


def default_engine(artifact: Artifact) -> str:
    """The engine for these files when nobody names one; any other where none loads them, for `why_not` to refuse."""
    return workload.engine_for(artifact.format)


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


def check_files(spec: RevisionSpec) -> None:
    """There must be a host that has the files, else nothing could ever start."""
    copies = spec.artifact.copies.filter(state=CopyState.PRESENT)
    if spec.host is not None:
        copies = copies.filter(host=spec.host)
    if not copies.exists():
        where = spec.host.name if spec.host else "any host"
        message = f"The files of {spec.artifact} are not on {where}."
        raise Invalid(message, "Get them there first.", fields={"artifact": message})


def check_hardware(spec: RevisionSpec, team: Team) -> None:
    """Somewhere it must be able to run: Invalid when no host that has the files has processors or cards for it."""
    why = fit.why_on_no_hardware(spec, team)
    if why:
        raise Invalid(why, fields={"host" if spec.host else "artifact": why})


def check_count(replicas: int) -> None:
    if not 0 <= replicas <= MAX_REPLICAS:
        message = f"Between 0 and {MAX_REPLICAS} replicas, not {replicas}."
        raise Invalid(message, fields={"replicas": message})
