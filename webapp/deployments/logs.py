"""Read a replica's stored log."""

from typing import Any

from webapp.deployments.models import LogChunk, Replica

READ_CHARACTERS = 200_000


def read(replica: Replica, offset: int = 0, attempt: int | None = None) -> dict[str, Any]:
    """Up to READ_CHARACTERS of one attempt's log from `offset` on, and where to read on.

    What was trimmed away is skipped: the text then starts later than asked.
    """
    number = attempt or replica.attempt
    chunks = LogChunk.objects.filter(replica=replica, generation=replica.generation, attempt=number)
    before = chunks.filter(offset__lte=offset).order_by("-offset").values_list("offset", flat=True).first() or 0
    text, position = "", offset
    for chunk in chunks.filter(offset__gte=before).order_by("offset").iterator(chunk_size=50):
        piece = chunk.text[max(0, offset - chunk.offset) :]
        if piece:
            text += piece
            position = chunk.offset + len(chunk.text)
        if len(text) >= READ_CHARACTERS:
            break
    return {"text": text, "next_offset": position, "attempt": number}
