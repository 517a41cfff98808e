from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "webapp.accounts"

    def ready(self) -> None:
        # Declares what is encrypted in allauth's rows: they are rotated by whichever process does it.
        from webapp.accounts import second_factor  # noqa: F401
