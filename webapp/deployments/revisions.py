"""What a deployment runs, as one value: compare it, number it, find it again."""

from dataclasses import dataclass, field
from typing import Any

from webapp import engines
from webapp.catalog.models import Artifact
from webapp.deployments.models import Deployment, Revision
from webapp.inventory.models import Host


@dataclass(frozen=True)
class Contents:
    """Everything that needs new containers when it changes."""

    artifact: Artifact
    engine: str
    image: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    host: Host | None = None


@dataclass(frozen=True)
class Change:
    """One field of a diff, in words for people."""

    name: str
    label: str
    old: str
    new: str


def wanted(deployment: Deployment) -> Contents:
    """What the deployment says now."""
    return Contents(
        deployment.artifact, deployment.engine, deployment.image, dict(deployment.options), deployment.host
    )  # fmt: skip


def of(revision: Revision) -> Contents | None:
    """What a revision holds; None when its files have been deleted since."""
    if revision.artifact is None:
        return None
    return Contents(revision.artifact, revision.engine, revision.image, dict(revision.options), revision.host)


def diff(old: Contents, new: Contents) -> list[Change]:
    """What differs, field by field; empty when nothing that runs would change."""
    pairs = [
        ("artifact", "Model", str(old.artifact), str(new.artifact), old.artifact.pk != new.artifact.pk),
        ("engine", "Engine", _title(old.engine), _title(new.engine), old.engine != new.engine),
        ("image", "Image", old.image or "the engine's own", new.image or "the engine's own", old.image != new.image),
        ("host", "Host", _host(old.host), _host(new.host), _key(old.host) != _key(new.host)),
    ]
    changes = [Change(name, label, before, after) for name, label, before, after, differs in pairs if differs]
    return changes + _options(old, new)


def _options(old: Contents, new: Contents) -> list[Change]:
    before, after = _with_defaults(old), _with_defaults(new)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [
        Change(f"options.{name}", _label(new.engine, name), _shown(before.get(name)), _shown(after.get(name)))
        for name in names
    ]


def _with_defaults(contents: Contents) -> dict[str, Any]:
    if contents.engine not in engines.names():
        return contents.options
    known = engines.get(contents.engine).Options
    defaults = {
        name: info.get_default(call_default_factory=True)
        for name, info in known.model_fields.items()
        if not info.is_required()
    }
    return {**defaults, **contents.options}


def _label(engine: str, name: str) -> str:
    info = engines.get(engine).Options.model_fields.get(name) if engine in engines.names() else None
    return (info.title if info else None) or name


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "automatic"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _title(engine: str) -> str:
    return engines.get(engine).title if engine in engines.names() else engine


def _host(host: Host | None) -> str:
    return host.name if host else "wherever it fits"


def _key(host: Host | None) -> int | None:
    return host.pk if host else None


def write(deployment: Deployment, contents: Contents, actor: str, note: str = "") -> Revision:
    """Number and store it. Inside the transaction that holds the deployment's row."""
    last = deployment.revisions.order_by("-number").values_list("number", flat=True).first() or 0
    return Revision.objects.create(
        deployment=deployment,
        number=last + 1,
        artifact=contents.artifact,
        artifact_name=str(contents.artifact)[:200],
        engine=contents.engine,
        image=contents.image,
        options=contents.options,
        host=contents.host,
        host_name=contents.host.name if contents.host else "",
        note=note[:200],
        actor=actor,
    )
