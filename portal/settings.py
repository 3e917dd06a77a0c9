"""All settings, in one file, from the environment. A value that cannot be understood stops the start (see env()).

| variable | default | meaning |
| --- | --- | --- |
| PORTAL_HOME | .portal beside manage.py | where the embedded database, broker, sample and logs live |
| SECRET_KEY | made once, kept in PORTAL_HOME | signs sessions |
| DATABASE_URL | SQLite in PORTAL_HOME | e.g. postgres://user:password@host/name |
| REDIS_URL | the embedded broker's socket | e.g. redis://host:6379/0 |
| ALLOWED_HOSTS | localhost,127.0.0.1,[::1] | names under which the portal is reached |
| CSRF_TRUSTED_ORIGINS | none | e.g. https://portal.example.org, behind a proxy |
| HTTPS | on unless only loopback is allowed | secure cookies, HSTS and redirects |
| DEBUG | off | Django's error pages; never on a real host |
| EMAIL_URL | written to the log | e.g. smtp+tls://user:password@host:587 |
| PORTAL_DEMO | off | demo accounts with one-click sign-in; refused unless only loopback is allowed |
| PORTAL_HOST | local | the queue of this host's worker: host.<name> |
| HEALTH_SECONDS | 2 | seconds between two looks at a system's health |
| LEASE_SECONDS | 15 | seconds after which a silent worker's run is handed on |
| SWEEP_SECONDS | 5 | seconds between two sweeps |
| TEND_SECONDS | 900 | seconds between two looks for restore points that nobody has read back for a day |
| PORTAL_URL | http://127.0.0.1:8000 | what links in messages begin with |
| NOTIFY_SECONDS | 10 | seconds after which a mail server or a service that does not answer is given up for now |
| NOTIFY_PRIVATE_OK | off | people may have messages sent to hosts of the portal's own network |
| HEARTBEAT_URL | none | an address outside that is asked for once a minute, only while all messages arrive |
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from pathlib import Path

import django_stubs_ext
import environ
from django.core.exceptions import ImproperlyConfigured

django_stubs_ext.monkeypatch()  # so that ModelForm[…] and ModelAdmin[…] can be written
env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent
HOME = Path(env.str("PORTAL_HOME", default=str(BASE_DIR / ".portal"))).absolute()


def positive(name: str, default: float) -> float:
    """Seconds from the environment; raises ImproperlyConfigured for anything but a number above zero."""
    text = env.str(name, default=str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise ImproperlyConfigured(f"{name} is {text!r}: give seconds, a number above 0")
    return seconds


def switch(name: str, *, default: bool) -> bool:
    """On or off from the environment; raises ImproperlyConfigured for any other word."""
    text = env.str(name, default="on" if default else "off").strip().lower()
    if text in ("1", "on", "true", "yes"):
        return True
    if text in ("0", "off", "false", "no", ""):
        return False
    raise ImproperlyConfigured(f"{name} is {text!r}: say on or off")


def kept_secret(path: Path) -> str:
    """The secret in the file, made at the first start (readable by its owner only)."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = path.with_name(f".{path.name}.{os.getpid()}")
    made.touch(mode=0o600)
    made.write_text(secrets.token_urlsafe(48))
    try:
        os.link(made, path)
    except FileExistsError:
        pass  # another process of the first start was faster: its secret counts
    finally:
        made.unlink()
    return path.read_text().strip()


def broker_socket() -> Path:
    """The embedded broker's socket. A Unix socket's path may have 107 bytes, so a deep HOME gets a short one."""
    path = HOME / "redis.sock"
    if len(str(path).encode()) <= 100:
        return path
    name = hashlib.sha256(str(HOME).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"portal-{os.getuid()}-{name}.sock"


# --- who may reach it ---------------------------------------------------------------------------------------------

LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=sorted(LOOPBACK))
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
DEBUG = switch("DEBUG", default=False)
DEMO = switch("PORTAL_DEMO", default=False)
HTTPS = switch("HTTPS", default=not LOOPBACK.issuperset(ALLOWED_HOSTS))
SECRET_KEY = env.str("SECRET_KEY", default="") or kept_secret(HOME / "secret_key")
if len(SECRET_KEY) < 32:
    raise ImproperlyConfigured("SECRET_KEY is shorter than 32 characters: unset it, and one is made and kept")
if DEMO and not LOOPBACK.issuperset(ALLOWED_HOSTS):
    raise ImproperlyConfigured("PORTAL_DEMO signs anybody in: it needs ALLOWED_HOSTS to be loopback only")

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31536000 if HTTPS else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SESSION_COOKIE_NAME = "portal_session"
CSRF_COOKIE_NAME = "portal_csrf"
X_FRAME_OPTIONS = "DENY"

# --- the parts ----------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "portal.ledger",
    "incidents",
    "rollbacks",
    "portal",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "allauth",
    "allauth.account",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "portal.middleware.ContentSecurityMiddleware",
    "portal.middleware.RefusedMoveMiddleware",
]

ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"
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
                "incidents.views.bell",
            ],
            "builtins": ["portal.tags"],
        },
    }
]

# --- the truth ----------------------------------------------------------------------------------------------------

DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{HOME / 'db.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    HOME.mkdir(parents=True, exist_ok=True, mode=0o700)
    # IMMEDIATE is what makes "two people at once" safe here: SQLite ignores select_for_update (DESIGN 2).
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;",
    }
    # Threads in tests need a file: an in-memory database answers "table is locked".
    DATABASES["default"]["TEST"] = {"NAME": str(HOME / f"test-{os.getpid()}.sqlite3")}
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    DATABASES["default"].setdefault("CONN_MAX_AGE", 60)
    DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)
    # Who is cut off is noticed within 15 s, on both ends. A host that loses its power in a transaction would else hold
    # its locks for two hours, and everybody queues at the ledger's end (portal.ledger.models.take_turn). So would a
    # process that stands still in one: none of ours does anything else in a transaction than ask the database.
    DATABASES["default"]["OPTIONS"] = {
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": 15000,  # milliseconds
        "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=2 "
        "-c idle_in_transaction_session_timeout=15s",
        **DATABASES["default"].get("OPTIONS", {}),
    }
else:
    raise ImproperlyConfigured("DATABASE_URL names neither PostgreSQL nor SQLite: the portal is tested on these two")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- the engine (measured in the research: any other choice of these flags loses or repeats tasks) ------------------

HOST = env.str("PORTAL_HOST", default="local")
HEALTH_SECONDS = positive("HEALTH_SECONDS", 2)
LEASE_SECONDS = positive("LEASE_SECONDS", 15)
SWEEP_SECONDS = positive("SWEEP_SECONDS", 5)
TEND_SECONDS = positive("TEND_SECONDS", 900)

PORTAL_URL = env.str("PORTAL_URL", default="http://127.0.0.1:8000").rstrip("/")
NOTIFY_SECONDS = positive("NOTIFY_SECONDS", 10)
NOTIFY_PRIVATE_OK = switch("NOTIFY_PRIVATE_OK", default=False)
HEARTBEAT_URL = env.str("HEARTBEAT_URL", default="")
for name, value in (("PORTAL_URL", PORTAL_URL), ("HEARTBEAT_URL", HEARTBEAT_URL or PORTAL_URL)):
    if not value.startswith(("http://", "https://")):
        raise ImproperlyConfigured(f"{name} must start with http:// or https://")

BROKER_SOCKET = broker_socket()
REDIS_URL = env.str("REDIS_URL", default="")
if REDIS_URL and not REDIS_URL.startswith(("redis://", "rediss://", "redis+socket://", "unix://")):
    raise ImproperlyConfigured("REDIS_URL must start with redis://, rediss://, redis+socket:// or unix://")
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://") or f"redis+socket://{BROKER_SOCKET}"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_TIME_LIMIT = 7200
CELERY_TASK_DEFAULT_QUEUE = "portal"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False  # the lease, not the broker, says who may work
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 7500,  # above the hard limit, else a long task runs twice
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": 30,
    "socket_connect_timeout": 2,
    "health_check_interval": 25,
    # A page does not wait for a broker that is down: the sweeper finds what no message announced.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
}
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BEAT_SCHEDULE_FILENAME = str(HOME / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "rollbacks.tasks.sweep", "schedule": SWEEP_SECONDS, "options": {"expires": SWEEP_SECONDS * 2}},
    "escalate": {"task": "rollbacks.tasks.escalate", "schedule": 15.0, "options": {"expires": 30}},
    "remind": {"task": "rollbacks.tasks.remind", "schedule": 60.0, "options": {"expires": 120}},
    "watch health": {
        "task": "rollbacks.tasks.watch_health",
        "schedule": HEALTH_SECONDS,
        "options": {"expires": HEALTH_SECONDS * 2},
    },
    "tend restore points": {
        "task": "rollbacks.tasks.tend_restore_points",
        "schedule": TEND_SECONDS,
        "options": {"expires": TEND_SECONDS * 2},
    },
    "prune restore points": {"task": "rollbacks.tasks.prune", "schedule": 86400.0},
    "deliver": {
        "task": "incidents.tasks.deliver",
        "schedule": SWEEP_SECONDS,
        "options": {"queue": "notify", "expires": SWEEP_SECONDS * 2},
    },
    # Not by the worker that it audits.
    "audit notifications": {
        "task": "incidents.tasks.audit_notifications",
        "schedule": 60.0,
        "options": {"queue": "portal", "expires": 120},
    },
}

# --- signing in -----------------------------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
ACCOUNT_ADAPTER = "portal.accounts.NoSignUp"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = True
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "overview"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"

vars().update(env.email_url("EMAIL_URL", default="consolemail://"))

# --- words, times, files --------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
STATIC_URL = "/static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # bytes; the largest form is a manifest

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "portal.log.Masked", "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line"},
        "nobody": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    # Apprise repeats addresses, which hold tokens: incidents/sending.py hears it, and masks what it says.
    "loggers": {"git": {"level": "WARNING"}, "apprise": {"handlers": ["nobody"], "propagate": False}},
}
