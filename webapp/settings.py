"""All settings, read from MODELYARD_* variables with defaults that work on one machine."""

import os
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from webapp.foundation import logs, paths, secret_store
from webapp.foundation.body_limit import MAX_BODY_BYTES

BASE_DIR = paths.REPOSITORY
STATE_DIR = paths.state_dir()

MODELYARD_URL = os.environ.get("MODELYARD_URL", "").rstrip("/")
MODELYARD_BIND = os.environ.get("MODELYARD_BIND", "127.0.0.1")
MODELYARD_PORT = int(os.environ.get("MODELYARD_PORT", "8000"))
_tls = bool(os.environ.get("MODELYARD_TLS_CERT"))
if not MODELYARD_URL:
    _host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(MODELYARD_BIND, MODELYARD_BIND)  # noqa: S104
    _host = f"[{_host}]" if ":" in _host else _host
    MODELYARD_URL = f"{'https' if _tls else 'http'}://{_host}:{MODELYARD_PORT}"
_url = urlsplit(MODELYARD_URL)

DEBUG = os.environ.get("MODELYARD_DEBUG", "") == "1"
SECRET_KEY = secret_store.of_sessions()
# A visit by another local name of this machine is normal; anything else must be named by MODELYARD_URL.
_local = [] if MODELYARD_BIND not in ("127.0.0.1", "localhost") else ["localhost", "127.0.0.1"]
_name = _url.hostname or "127.0.0.1"
ALLOWED_HOSTS = sorted({f"[{_name}]" if ":" in _name else _name, *_local})
_port = f":{_url.port}" if _url.port else ""
TRUSTED_ORIGINS = sorted({MODELYARD_URL, *(f"{_url.scheme}://{name}{_port}" for name in _local)})
CSRF_TRUSTED_ORIGINS = TRUSTED_ORIGINS

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "channels",
    "ninja",
    "csp",
    "webapp.foundation.events",
    "webapp.accounts",
    "webapp.idempotency",
    "webapp.inventory",
    "webapp.catalog",
    "webapp.jobs",
    "webapp.quantisation",
    "webapp.deployments",
    "webapp.usage",
    "webapp.schedules",
    "webapp.samples",
    "webapp.interfaces.kit",
    "webapp.interfaces.live",
    "webapp.operations",
    "webapp.interfaces.pages.dashboard",
]

MIDDLEWARE = [
    "webapp.interfaces.kit.request_facts.request_facts",
    "webapp.interfaces.pages.accounts.middleware.note_asker",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "webapp.interfaces.api.problems.ProblemMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "webapp.interfaces.pages.accounts.middleware.require_second_factor",
]

ROOT_URLCONF = "webapp.urls"
ASGI_APPLICATION = "webapp.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "webapp.interfaces.pages.dashboard.context.site",
            ],
        },
    }
]


def database_from_url(url: str) -> dict[str, Any]:
    """Django's settings for sqlite:///path or postgresql://user:password@host:port/name?option=value."""
    parts = urlsplit(url)
    if parts.scheme not in ("sqlite", "postgres", "postgresql"):
        raise ValueError(f"MODELYARD_DATABASE_URL starts with {parts.scheme!r}: use sqlite:///path or postgresql://…")
    # libpq's service file may name it instead.
    if not parts.path.strip("/") and "service" not in dict(parse_qsl(parts.query)):
        raise ValueError("The address names no database: sqlite:///path or postgresql://user:password@host/name.")
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            # sqlite:////var/x and sqlite:///var/x are the same file; two slashes in front mean something else in URIs.
            "NAME": "/" + unquote(parts.path).lstrip("/"),
            "OPTIONS": {
                "timeout": 20,
                # Deferred transactions fail with "database is locked" as soon as two writers meet.
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
                "PRAGMA journal_size_limit=67108864; PRAGMA busy_timeout=20000;",
            },
            "TEST": {"NAME": os.environ.get("MODELYARD_TEST_DATABASE") or None},
        }
    options = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", None) or parts.hostname or "",
        "PORT": str(parts.port or ""),
        # Under ASGI every request has a thread of its own: a connection that outlives it would never be used again.
        "CONN_MAX_AGE": 0,
        "OPTIONS": {"options": "-c lock_timeout=5s -c statement_timeout=30s", **options},
    }


DATABASES = {
    "default": database_from_url(
        secret_store.setting("MODELYARD_DATABASE_URL") or f"sqlite:///{STATE_DIR / 'db.sqlite3'}"
    ),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = os.environ.get("MODELYARD_REDIS_URL") or f"unix://{paths.broker_socket()}"
CHANNEL_LAYERS = {
    "default": {
        # The plain layer keeps only the first hundred unread messages and forgets its groups after FLUSHALL.
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "modelyard:live"},
    }
}
# In the database, because the limits on signing in must be the same in every web process, broker or no broker.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "accounts_cache"}}

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
ACCOUNT_ADAPTER = "webapp.interfaces.pages.accounts.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "webapp.interfaces.pages.accounts.account_forms.SignInPageForm",
    "change_password": "webapp.interfaces.pages.accounts.account_forms.PasswordChangeForm",
    "set_password": "webapp.interfaces.pages.accounts.account_forms.FirstPasswordForm",
}
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGOUT_REDIRECT_URL = "/accounts/login/"
SOCIALACCOUNT_ADAPTER = "webapp.interfaces.pages.accounts.sso.SignOnAdapter"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
MFA_ADAPTER = "webapp.interfaces.pages.accounts.adapter.SecondFactorAdapter"
MFA_FORMS = {
    "authenticate": "webapp.interfaces.pages.accounts.factor_forms.CodeForm",
    "reauthenticate": "webapp.interfaces.pages.accounts.factor_forms.CodeAgainForm",
    "authenticate_webauthn": "webapp.interfaces.pages.accounts.factor_forms.PasskeyForm",
    "reauthenticate_webauthn": "webapp.interfaces.pages.accounts.factor_forms.PasskeyAgainForm",
    "login_webauthn": "webapp.interfaces.pages.accounts.factor_forms.PasskeyAloneForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Modelyard"
# A code of the half minute before or after counts too: clocks of phones go wrong.
MFA_TOTP_TOLERANCE = 1

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _url.scheme == "https"
SESSION_COOKIE_NAME = "modelyard_session"
CSRF_COOKIE_NAME = "modelyard_csrf"
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        # Tabler draws its small icons as data: images.
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

STATIC_URL = "/static/"
STATIC_ROOT = STATE_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_MANIFEST_STRICT = False

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

# The second keeps bodies in memory that are let in at all: nobody who has not signed in writes to this disk.
DATA_UPLOAD_MAX_MEMORY_SIZE = FILE_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
SILENCED_SYSTEM_CHECKS = [
    # TLS ends at the gateway or at a front that people run; whether the site is https is MODELYARD_URL's to say.
    "security.W004",
    "security.W008",
    *(["security.W012", "security.W016"] if _url.scheme != "https" else []),
]

LOGGING = logs.django_config()
