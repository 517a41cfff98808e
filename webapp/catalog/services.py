"""Every change of the catalogue, and the look into a file before it becomes an artifact."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from webapp import paths
from webapp.catalog import gguf
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CopyState
from webapp.errors import Invalid
from webapp.events import services as events
from webapp.inventory.models import Host


@dataclass(frozen=True)
class Inspected:
    """What a model file is, read from its own header."""

    path: Path
    member: str
    file_name: str
    size_bytes: int
    model_name: str
    quantisation: str
    facts: dict[str, Any] = field(default_factory=dict)


def inspect_file(path: Path, member: str = "") -> Inspected:
    """Read the header of a GGUF file, or of one inside a zip or wheel. Raises Invalid when it is not sound.

    Only files under the allowed import roots are opened.
    """
    source = _allowed(path)
    with _open(source, member) as (file, name, size):
        try:
            header = gguf.read_header(cast(BinaryIO, file), size)
        except gguf.HeaderError as error:
            raise Invalid(
                f"{name} is not a model file that can be served: {error}",
                "Fetch the file again and compare its checksum with the publisher's.",
                fields={"source_path": str(error)},
            ) from error
    facts = gguf.facts(header, size)
    return Inspected(
        path=source,
        member=member,
        file_name=Path(name).name,
        size_bytes=size,
        model_name=_model_name(header, Path(name).stem),
        quantisation=facts.quantisation,
        facts=facts.as_json(),
    )


def add_artifact(inspected: Inspected, model_name: str = "") -> Artifact:
    """The catalogue's row for this file; the row that is there when it was added before."""
    name = (model_name or inspected.model_name).strip()[:120]
    if not slugify(name):
        raise Invalid(
            "The model needs a name with letters or digits.", fields={"model_name": "needs letters or digits"}
        )
    facts = inspected.facts
    with transaction.atomic():
        model, _created = CatalogModel.objects.get_or_create(
            slug=slugify(name)[:120],
            defaults={
                "name": name,
                "architecture": facts.get("architecture") or "",
                "parameters": facts.get("parameters"),
                "context_length": facts.get("context_length"),
                "licence": (facts.get("licence") or "")[:80],
            },
        )
        artifact, created = Artifact.objects.get_or_create(
            catalog_model=model,
            format="gguf",
            quantisation=inspected.quantisation,
            main_file=inspected.file_name,
            defaults={
                "files": [{"name": inspected.file_name, "size_bytes": inspected.size_bytes, "sha256": None}],
                "facts": facts,
                "size_bytes": inspected.size_bytes,
                "source": {"kind": "path", "path": str(inspected.path), "member": inspected.member},
            },
        )
        if not created and artifact.size_bytes != inspected.size_bytes:
            raise Invalid(
                f"The catalogue has another {inspected.file_name} of {model.name} with {artifact.size_bytes} bytes.",
                "Import it under another model name.",
                fields={"model_name": "taken by a different file"},
            )
        events.publish("catalog")
    return artifact


def begin_copy(artifact: Artifact, host: Host) -> ArtifactCopy:
    """Write down that the files are on their way to the host. A copy that is complete stays as it is."""
    copy, created = ArtifactCopy.objects.get_or_create(artifact=artifact, host=host)
    if not created and copy.state == CopyState.FAILED:
        ArtifactCopy.objects.filter(pk=copy.pk, state=CopyState.FAILED).update(state=CopyState.FETCHING)
        copy.refresh_from_db()
    events.publish("catalog")
    return copy


def finish_copy(artifact: Artifact, host: Host, files: list[dict[str, Any]]) -> None:
    """The files lie on the host, complete and with these checksums."""
    with transaction.atomic():
        Artifact.objects.filter(pk=artifact.pk).update(
            files=[{"name": f["name"], "size_bytes": f["size"], "sha256": f["sha256"]} for f in files]
        )
        ArtifactCopy.objects.update_or_create(
            artifact=artifact, host=host, defaults={"state": CopyState.PRESENT, "verified_at": timezone.now()}
        )
        events.publish("catalog")


def fail_copy(artifact: Artifact, host: Host) -> None:
    ArtifactCopy.objects.filter(artifact=artifact, host=host, state=CopyState.FETCHING).update(state=CopyState.FAILED)
    events.publish("catalog")


def _allowed(path: Path) -> Path:
    """The real path of a file under an import root; symbolic links are followed before the check."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise Invalid(f"There is no file {path}.", fields={"source_path": "no such file"}) from error
    roots = paths.import_roots()
    if not any(real.is_relative_to(root) for root in roots):
        raise Invalid(
            f"{path} is outside the folders that models may be imported from.",
            f"Put it under {' or '.join(str(root) for root in roots)}, or name its folder in MODELYARD_IMPORT_ROOTS.",
            fields={"source_path": "outside the allowed folders"},
        )
    return real


@contextmanager
def _open(path: Path, member: str) -> Iterator[tuple[IO[bytes], str, int]]:
    """The model file itself, its name and its size in bytes."""
    try:
        if not member:
            with path.open("rb") as file:
                yield file, path.name, path.stat().st_size
            return
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(member).file_size
            with archive.open(member) as inside:
                yield inside, member, size
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        what = f"{member} in {path.name}" if member else path.name
        raise Invalid(f"{what} cannot be read: {error}", fields={"source_path": "cannot be read"}) from error


def _model_name(header: gguf.GgufHeader, stem: str) -> str:
    """The name that the header gives, or the file's name without its quantisation."""
    name = header.metadata.get("general.basename") or header.metadata.get("general.name")
    return str(name) if name else stem
