"""What was asked under which idempotency key, and what was answered."""

from django.db import models

from webapp.foundation.encrypted import EncryptedField


class Exchange(models.Model):
    """One request with an `Idempotency-Key`. It is `running` until `status` is set, and forgotten after a day.

    The answer is sealed, whatever it is: some answers hold a secret that is shown once.
    """

    # `key:7` or `user:3`: one caller's keys say nothing about another's.
    caller = models.CharField(max_length=40)
    key = models.CharField(max_length=200)
    # SHA-256 of method, path and body: the same key with anything else is a mistake of the sender.
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    content_type = models.CharField(max_length=100, blank=True)
    sealed_answer = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["caller", "key"],
                name="idempotency_key_once_per_caller",
                violation_error_message="This key was sent before.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.caller} {self.key}"

    @property
    def is_running(self) -> bool:
        return self.status is None


ANSWER = EncryptedField(Exchange, "sealed_answer", lambda exchange: f"idempotency:{exchange.pk}:{exchange.caller}")
