"""When a schedule fires: crontab, interval or a look for new revisions, and the hours in which it may work. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from itertools import islice
from zoneinfo import ZoneInfo

from webapp.schedules import crontab

# How often a source is asked whether it has a new revision.
LOOK_EVERY_MIN = 60
DAY = timedelta(days=1)


class Trigger(StrEnum):
    CRON = "cron"
    INTERVAL = "interval"
    NEW_COMMIT = "new_commit"


@dataclass(frozen=True, slots=True)
class Timing:
    """`opens` and `shuts`: local times between which work may begin; both None: always. `line`: the crontab's."""

    trigger: Trigger
    zone: ZoneInfo
    line: str = ""
    interval_minutes: int = 0
    opens: time | None = None
    shuts: time | None = None

    def next_due(self, after: datetime, began: datetime | None = None) -> datetime:
        """The first due time strictly after `after`, in UTC. `began`: what intervals are counted from.

        Missed times are left out: whatever was missed is one run, not many. Raises BadCrontab.
        """
        if self.trigger == Trigger.CRON:
            return crontab.parse(self.line).after(after, self.zone)
        every = timedelta(minutes=self.interval_minutes if self.trigger == Trigger.INTERVAL else LOOK_EVERY_MIN)
        start = began or after
        return start + every * max(1, (after - start) // every + 1)

    def upcoming(self, due: datetime, until: datetime, most: int) -> list[datetime]:
        """`due` and what follows it up to `until`: at most `most` times."""
        found: list[datetime] = []
        moment = due
        while moment <= until and len(found) < most:
            found.append(moment)
            moment = self.next_due(moment, due)
        return found

    def opening(self, moment: datetime) -> datetime:
        """`moment` itself while work may begin, else when it may again, in UTC."""
        if self.opens is None or self.shuts is None or self.is_open(moment):
            return moment
        local = moment.astimezone(self.zone)
        opening = local.replace(hour=self.opens.hour, minute=self.opens.minute, second=0, microsecond=0, fold=0)
        if opening.astimezone(UTC) <= moment:
            opening += DAY
        return opening.astimezone(UTC)

    def is_open(self, moment: datetime) -> bool:
        """Whether work may begin now. A window may reach over midnight."""
        if self.opens is None or self.shuts is None:
            return True
        now = moment.astimezone(self.zone).time()
        if self.opens <= self.shuts:
            return self.opens <= now < self.shuts
        return now >= self.opens or now < self.shuts

    def never_meets_window(self, now: datetime) -> bool:
        """Whether none of the crontab's next thousand times lies in the window: every run would wait for it."""
        if self.trigger != Trigger.CRON or self.opens is None:
            return False
        return not any(self.is_open(at) for at in islice(crontab.parse(self.line).times(now, self.zone), 1000))
