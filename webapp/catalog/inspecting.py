"""The look into files before they become an artifact: on this machine, behind an address, or on a hub.

Headers and configs are read, never more: a broken or hostile file is refused before anything is queued.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, TypeVar, cast
from urllib.parse import unquote, urlsplit

from webapp.catalog import (
    configs,
    filenames,
    gguf,
    hubs,
    local_files,
    naming,
    outbound,
    programs,
    safetensors,
    variants,
)
from webapp.catalog.configs import ConfigError
from webapp.catalog.models import CodeApproval, Hub
from webapp.catalog.outbound import OutboundError
from webapp.catalog.variants import Offer, Variant
from webapp.catalog.weight_sets import File
from webapp.foundation.deadline import Deadline
from webapp.foundation.errors import Invalid, ServiceError, Unavailable
from webapp.foundation.text import one_line
from webapp.planner.facts import ModelFacts

# Of a set in more parts, some are read and the rest is taken to be like them.
MOST_HEADERS = 8

T = TypeVar("T")
Opener = Callable[[File], AbstractContextManager["Readable"]]


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Inspected:
    """What a set of files is, read from its own headers. `files`: {name, path, size, sha256, git_sha1} each."""

    format: str
    main_file: str
    files: tuple[dict[str, Any], ...]
    model_name: str
    quantisation: str
    source: dict[str, Any]
    origin: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    licence: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(file["size"] for file in self.files)


def inspect_path(path: Path, member: str = "") -> Inspected:
    """A GGUF file, one inside a zip or wheel, or a folder. `member` names the file in the archive, or the folder's
    variant when it has several. Raises Invalid. Only what lies under the allowed import roots is opened.
    """
    source = local_files.allowed(path)
    local_files.check_open(source)
    if source.is_dir():
        return _inspect_folder(source, member)
    with local_files.open_local(source, member) as (file, name, size):
        header, facts = _gguf_header(file, name, size)
    main = filenames.usual_ending(one_line(Path(name).name))
    return Inspected(
        format="gguf",
        main_file=main,
        files=({"name": main, "size": size, "sha256": None},),
        model_name=filenames.model_name(header.metadata, main),
        quantisation=facts.quantisation,
        source={"kind": "path", "path": str(source), "member": member},
        facts=facts.as_json(),
        licence=facts.licence,
    )


def inspect_url(url: str) -> Inspected:
    """One GGUF file behind an address. Raises Invalid, Unavailable."""
    name = filenames.usual_ending(one_line(PurePosixPath(unquote(outbound.parts_of(url).path)).name))
    if not filenames.is_gguf(name):
        raise Invalid(
            "Only GGUF files can be downloaded from a URL.",
            "Give the URL of the .gguf file itself; other formats come from hubs and folders.",
            fields={"url": "must end with .gguf"},
        )
    if filenames.is_too_long(name):
        what = f"The file name in the URL has {len(name)} characters, which is too long."
        raise Invalid(what, "Download it yourself under a shorter name, then import it.", fields={"url": what})
    try:
        with outbound.get(url, outbound.environment_policy(), deadline=Deadline(hubs.HEADER_TIMEOUT_S)) as response:
            if response.status != 200:
                message = f"{urlsplit(url).hostname} answered {response.status}."
                raise Invalid(message, "Check the URL.", fields={"url": message})
            length = response.headers.get("Content-Length", "")
            size = int(length) if length.isdecimal() else None
            header, facts = _gguf_header(cast(BinaryIO, response), name, size, "url")
    except OutboundError as error:
        kind = Invalid if error.code == "not_allowed" else Unavailable
        raise kind(str(error), error.advice, fields={"url": str(error)}) from error
    plain = url.partition("?")[0].partition("#")[0]
    return Inspected(
        format="gguf",
        main_file=name,
        files=({"name": name, "size": header.expected_file_bytes if size is None else size, "sha256": None},),
        model_name=filenames.model_name(header.metadata, name),
        quantisation=facts.quantisation,
        source={"kind": "url", "url": plain},
        origin=plain[:500],
        facts=facts.as_json(),
        licence=facts.licence,
    )


def offer(hub: Hub, repo: hubs.Repo, key: str = "") -> Offer:
    """What the repository has that could be served, by its indexes and lists of modules. Raises ServiceError."""
    wanted = variants.texts_of(repo.files, key)
    try:
        read = _each(wanted, lambda file: _content(file, _of_hub(hub, repo), file.size_bytes)) if wanted else []
    except OutboundError as error:
        raise Unavailable(f"Reading from {hub.name} failed: {error}", error.advice) from error
    return variants.group(repo.files, {file.name: text for file, text in zip(wanted, read, strict=True)})


def _of_hub(hub: Hub, repo: hubs.Repo) -> Opener:
    @contextmanager
    def opened(file: File) -> Iterator[Readable]:
        with hubs.open_file(hub, repo.name, repo.commit, file.name) as response:
            yield response

    return opened


def inspect_repo(hub: Hub, repo: hubs.Repo, key: str) -> Inspected:
    """One variant of a repository, by the headers of its files at exactly this commit. Raises ServiceError."""
    found, opened = offer(hub, repo, key), _of_hub(hub, repo)
    variant = _usable(found, key, repo.name)
    more: tuple[File, ...] = ()
    if variant.format == "safetensors":
        _config(variant, opened)
        is_approved = CodeApproval.objects.filter(hub=hub, repo=repo.name, commit=repo.commit).exists()
        problem = _problem(variant, opened, is_near=False, lets_code=is_approved)
        if problem:
            raise Invalid(
                f"{repo.name} cannot be served: {problem}",
                "Choose a variant without it (GGUF never has any), or have an administrator read and approve "
                f"commit {repo.commit[:12]} on the repository's page.",
                fields={"variant": "requires custom Python code"},
            )
        more = tuple(file for file in repo.files if is_approved and file.name in found.code)
    try:
        name, facts = _facts(variant, opened, repo.name, repo.licence)
    except OutboundError as error:
        raise Unavailable(f"Reading from {hub.name} failed: {error}", error.advice) from error
    return Inspected(
        format=variant.format,
        main_file=variant.main_file,
        files=tuple(_wanted(variant, file) for file in (*variant.files, *more)),
        model_name=name,
        quantisation=(facts.quantisation or variant.quantisation)[:20],
        source={
            "kind": "hub", "hub": hub.pk, "hub_name": hub.name, "repo": repo.name, "revision": repo.revision,
            "commit": repo.commit, "variant": key, "page": repo.page,
        },
        origin=f"hub:{hub.pk}:{repo.name}@{repo.commit}:{key}"[:500],
        facts=facts.as_json(),
        licence=repo.licence or facts.licence,
    )  # fmt: skip


def _wanted(variant: Variant, file: File) -> dict[str, Any]:
    place, inside = variant.place_of(file), variant.inside(file)
    return {
        "name": place,
        "path": file.name,
        **({"from": inside} if inside != place else {}),  # what it is called in a folder of this machine
        "size": file.size_bytes,
        "sha256": file.sha256,
        "git_sha1": file.git_sha1,
    }


def _usable(found: Offer, key: str, where: str) -> Variant:
    variant = found.find(key)
    if variant is None:
        what = f"{where} has no variant {key!r}." if key else f"{where} has several variants."
        if not found.variants:
            what = f"{where} has no variant {key!r}: it has" if key else f"{where} has"
            notes = " ".join(found.notes) or "Modelyard serves GGUF and safetensors files."
            raise Invalid(f"{what} nothing that can be served.", notes, fields={"variant": "nothing to choose from"})
        names = ", ".join(f"{one.key} ({naming.size(one.size_bytes)})" for one in found.variants[:10])
        raise Invalid(what, f"It has: {names}.", fields={"variant": f"choose one of {names}"})
    if variant.problem:
        raise Invalid(f"{key} cannot be served. {variant.problem}", "Choose another variant.")
    return variant


def _problem(variant: Variant, opened: Opener, *, is_near: bool, lets_code: bool) -> str:
    """Why the files beside the weights may not be loaded; "" when they may. Of files on a hub (not `is_near`) the
    configurations alone are read now: the job that brings them looks at each."""
    weights = {file.name for file in variant.weights}

    def look(file: File) -> str:
        name = variant.inside(file)
        text = _content(file, opened, programs.MOST_CONFIG_BYTES) if programs.is_config(name) else None
        start = _content(file, opened, 0)[: programs.START_BYTES] if is_near and text is None else text or b""
        return programs.why_not(name, start, text, lets_code=lets_code)

    beside = [file for file in variant.files if file.name not in weights]
    try:
        return next(filter(None, _each(beside, look)), "") if beside else ""
    except OutboundError as error:
        raise Unavailable(str(error), error.advice) from error


def _inspect_folder(folder: Path, key: str) -> Inspected:
    files, stops, outside = local_files.listed(folder)

    @contextmanager
    def opened(file: File) -> Iterator[Readable]:
        with (folder / file.name).open("rb") as stream:
            yield stream

    wanted = variants.texts_of(files, key)
    local_files.check_open(folder, *(file.name for file in wanted))
    texts = {file.name: _content(file, opened, file.size_bytes) for file in wanted}
    found = variants.group(files, texts, outside)
    if not key and len(found.variants) == 1:
        key = found.variants[0].key
    if stops and found.find(key) is None:
        raise local_files.closed(folder, stops)
    variant = _usable(found, key, str(folder))
    local_files.check_open(folder, *(file.name for file in variant.files))
    if variant.format == "safetensors":
        _config(variant, opened)
    problem = _problem(variant, opened, is_near=True, lets_code=False)
    if problem:
        raise Invalid(
            f"{folder.name} cannot be served: {problem}",
            "Choose another model, or a GGUF file of this one.",
            fields={"source_path": "requires custom Python code"},
        )
    name, facts = _facts(variant, opened, folder.name, "")
    parent = folder / variant.folder
    return Inspected(
        format=variant.format,
        main_file=variant.main_file,
        files=tuple(_wanted(variant, file) for file in variant.files),
        model_name=name,
        quantisation=(facts.quantisation or variant.quantisation)[:20],
        source={"kind": "path", "path": str(parent), "member": "", "variant": key},
        origin=f"folder:{parent}:{key}"[:500],
        facts=facts.as_json(),
        licence=facts.licence,
    )


def _content(file: File, opened: Opener, most: int) -> bytes:
    """What is in a small file; of a larger one a little more than `most` bytes."""
    with opened(file) as stream:
        parts, length = list[bytes](), 0
        while length <= most and (piece := stream.read(1 << 20)):
            parts.append(piece)
            length += len(piece)
    return b"".join(parts)


def _config(variant: Variant, opened: Opener) -> dict[str, Any]:
    file = next(file for file in variant.files if variant.inside(file) == "config.json")
    try:
        return configs.read_config(_content(file, opened, configs.MAX_CONFIG_BYTES))
    except ConfigError as error:
        raise _not_a_model(file.name, error) from error
    except OutboundError as error:
        raise Unavailable(str(error), error.advice) from error


def _facts(variant: Variant, opened: Opener, place: str, licence: str) -> tuple[str, ModelFacts]:
    """The model's name and the planner's facts by the headers of the variant; `place` is the repository's or folder's
    name. Raises ServiceError.
    """
    if variant.format == "gguf":
        headers = _each(variant.weights, lambda file: _read_gguf(file, opened))
        try:
            gguf.check_parts(headers)
            facts = gguf.facts(headers[0], None, headers[1:])
        except gguf.HeaderError as error:
            raise _not_a_model(variant.key, error) from error
        return filenames.model_name(headers[0].metadata, variant.main_file, place), facts
    name = filenames.without_format(place)
    config = _config(variant, opened)
    read = _each(variant.weights[:MOST_HEADERS], lambda file: _read_safetensors(file, opened))
    try:
        facts = configs.facts(config, read, name, licence)
    except ConfigError as error:
        raise _not_a_model("config.json", error) from error
    return name, _scaled(facts, variant)


def _scaled(facts: ModelFacts, variant: Variant) -> ModelFacts:
    """Where only some parts were read, sizes and parameters of the whole by the sizes of the files."""
    whole = sum(file.size_bytes for file in variant.weights)
    if len(variant.weights) <= MOST_HEADERS or not facts.weights_bytes:
        return facts
    parameters = round(facts.parameters * whole / facts.weights_bytes)
    return replace(
        facts, weights_bytes=whole, mapped_bytes=whole, parameters=parameters, split_parts=len(variant.weights)
    )


def _each(files: Sequence[File], read: Callable[[File], T]) -> list[T]:
    if len(files) == 1:
        return [read(files[0])]
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(read, files))


def _read_gguf(file: File, opened: Opener) -> gguf.GgufHeader:
    try:
        with opened(file) as stream:
            return gguf.read_header(cast(BinaryIO, stream), file.size_bytes)
    except gguf.HeaderError as error:
        raise _not_a_model(file.name, error) from error


def _read_safetensors(file: File, opened: Opener) -> safetensors.Header:
    try:
        with opened(file) as stream:
            return safetensors.read_header(cast(BinaryIO, stream), file.size_bytes)
    except safetensors.HeaderError as error:
        raise _not_a_model(file.name, error) from error


def _gguf_header(
    file: BinaryIO, name: str, size: int | None, about: str = "source_path"
) -> tuple[gguf.GgufHeader, ModelFacts]:
    try:
        header = gguf.read_header(file, size)
        part = filenames.part_of(name)
        if gguf.parts_of(header) > 1 or (part and part.count > 1):
            count = max(gguf.parts_of(header), part.count if part else 1)
            raise Invalid(
                f"{PurePosixPath(name).name} is one of {count} parts of a model, which are served together.",
                "Fetch the model from its hub, or put all parts into one folder and import the folder.",
                fields={about: f"one of {count} parts"},
            )
        return header, gguf.facts(header, size)
    except gguf.HeaderError as error:
        raise _not_a_model(name, error, about) from error


def _not_a_model(name: str, error: Exception, about: str = "source_path") -> ServiceError:
    return Invalid(
        f"{name} is not a model file that can be served: {error}",
        "Fetch the file again and compare its checksum with the publisher's.",
        fields={about: str(error)},
    )
