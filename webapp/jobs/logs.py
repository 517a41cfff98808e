"""What a job's containers printed: kept by the newest of each step, read by place, shown as one plain text."""

from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from webapp.foundation import log_text
from webapp.foundation.events import services as events
from webapp.foundation.log_text import PIECE_CHARS, Piece, Place, plain
from webapp.jobs.models import Job, JobLogChunk

# A chunk grows to this many characters before the next one begins, and of each step so many chunks are kept.
CHUNK_CHARS = 16 * 1024
KEPT_CHUNKS = 24
# Logs of jobs that ended longer ago are thrown away.
KEPT_DAYS = 30


@dataclass(frozen=True)
class Part:
    """One step of one attempt, of which something is kept."""

    step: int
    attempt: int
    name: str

    @property
    def key(self) -> str:
        return f"{self.step}-{self.attempt}"

    @property
    def start(self) -> Place:
        return Place(self.step, self.attempt)


def topic(job_id: int) -> str:
    return f"job-log:{job_id}"


def append(job_id: int, attempt: int, step: int, text: str, until: str) -> None:
    """Keep a piece of a step's log; `until` is Docker's timestamp of its last line. One watcher writes at a time."""
    if not text:
        return
    try:
        with transaction.atomic():
            _write(job_id, attempt, step, text, until)
            events.publish(topic(job_id))
    except IntegrityError:
        # The job was deleted meanwhile, or a second watcher was first: the log is shown, not relied on.
        return


def _write(job_id: int, attempt: int, step: int, text: str, until: str) -> None:
    chunks = _chunks(job_id, attempt, step)
    last = chunks.last()
    if last is not None and len(last.text) < CHUNK_CHARS:
        JobLogChunk.objects.filter(pk=last.pk).update(text=last.text + text, until=until)
        return
    offset = last.offset + len(last.text) if last else 0
    JobLogChunk.objects.create(job_id=job_id, attempt=attempt, step=step, offset=offset, text=text, until=until)
    stale = list(chunks.reverse().values_list("pk", flat=True)[KEPT_CHUNKS : KEPT_CHUNKS + 100])
    if stale:
        JobLogChunk.objects.filter(pk__in=stale).delete()
    if last is None:
        long_ago = timezone.now() - timedelta(days=KEPT_DAYS)
        JobLogChunk.objects.filter(job__ended_at__lt=long_ago).delete()


def until(job_id: int, attempt: int, step: int) -> str:
    """Docker's date of the last line that is kept of this step, "" when there is none."""
    last = _chunks(job_id, attempt, step).last()
    return last.until if last else ""


def parts(job: Job) -> list[Part]:
    """The steps of which something is kept, in the order in which they ran."""
    names = job.params.get("steps") or [job.get_kind_display()]
    rows = JobLogChunk.objects.filter(job=job).order_by("attempt", "step").values_list("step", "attempt").distinct()
    return [
        Part(step, attempt, names[step - 1] if 0 < step <= len(names) else f"step {step}") for step, attempt in rows
    ]


def tail(job: Job) -> Piece:
    """The end of the log for a page that opens: the newest steps, as many as fit."""
    texts: list[str] = []
    place, room = Place(), PIECE_CHARS
    for part in reversed(parts(job)):
        chunks = _chunks(job.pk, part.attempt, part.step)
        end = log_text.end_of(chunks)
        piece = log_text.read(chunks, Place(part.step, part.attempt, max(0, end - room)), fresh=True)
        if not texts:
            place = piece.place
        texts.append(_headed(job, part, piece.text))
        room -= len(piece.text)
        if room <= 0:
            break
    return Piece(place, "".join(reversed(texts)), fresh=True, more=False)


def beginning(job: Job) -> Piece | None:
    """The first piece of what is kept; None when that is nothing."""
    kept = parts(job)
    if not kept:
        return None
    piece = log_text.read(_chunks(job.pk, kept[0].attempt, kept[0].step), kept[0].start, fresh=False)
    return Piece(piece.place, _headed(job, kept[0], piece.text), piece.fresh, piece.more or len(kept) > 1)


def since(job: Job, seen: Place) -> Piece | None:
    """What was printed after `seen`, which may be in the next step; None when that is nothing."""
    kept = parts(job)
    starts = [(part.step, part.attempt) for part in kept]
    if (seen.generation, seen.attempt) not in starts:
        return tail(job) if kept else None
    here = starts.index((seen.generation, seen.attempt))
    piece = log_text.read(_chunks(job.pk, seen.attempt, seen.generation), seen, fresh=False)
    if piece.text or piece.fresh:
        return Piece(piece.place, piece.text, piece.fresh, piece.more or here + 1 < len(kept))
    if here + 1 == len(kept):
        return None
    following = kept[here + 1]
    piece = log_text.read(_chunks(job.pk, following.attempt, following.step), following.start, fresh=False)
    # A beginning that is no longer kept is no break for the reader: the step is a new one to him.
    return Piece(piece.place, _headed(job, following, piece.text), False, piece.more or here + 2 < len(kept))


def whole(job: Job, chosen: Part | None = None) -> str:
    """Everything that is kept, of one step or of all of them under their names."""
    wanted = [chosen] if chosen else parts(job)
    return "".join(_headed(job, part, _text(job, part)) for part in wanted)


def _text(job: Job, part: Part) -> str:
    rows = list(_chunks(job.pk, part.attempt, part.step).values_list("offset", "text"))
    left_out = "[the beginning is no longer kept]\n" if rows and rows[0][0] else ""
    return left_out + plain("".join(text for _offset, text in rows))


def _headed(job: Job, part: Part, text: str) -> str:
    """The step's name above its text, where there is more than one."""
    end = "" if text.endswith("\n") or not text else "\n"
    if not job.params.get("steps") and part.attempt == 1:
        return text + end
    attempt = f", attempt {part.attempt}" if part.attempt > 1 else ""
    return f"── {part.name}{attempt} ──\n{text}{end}"


def _chunks(job_id: int, attempt: int, step: int) -> "QuerySet[JobLogChunk]":
    return JobLogChunk.objects.filter(job_id=job_id, attempt=attempt, step=step).order_by("offset")
