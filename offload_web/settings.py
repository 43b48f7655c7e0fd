"""Django settings, derived from `offload_web.config`."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from offload_web import address, config, logging, secret_key

BASE_DIR = Path(__file__).resolve().parent.parent
OFFLOAD = config.load()

SECRET_KEY = secret_key.load(OFFLOAD.home)
DEBUG = OFFLOAD.debug
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]", *OFFLOAD.allowed_hosts]

# Neither daphne nor channels: `serve` starts the one, the other needs no app; both would load Twisted into
# every command (0.6 s).
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "offload_web",
    "jobs",
    "terminals",
]
MIDDLEWARE = [
    "offload_web.security.SecurityMiddleware",
    "offload_web.static_files.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "offload_web.security.EndOldLogins",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "offload_web.security.ChangesNeedPermission",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "jobs.dashboard.live.note_newest_event",
]
ROOT_URLCONF = "offload_web.urls"
ASGI_APPLICATION = "offload_web.asgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "jobs.dashboard.outbox.context.count_in_navigation",
            ]
        },
    }
]

DATABASES = {"default": config.database_settings(OFFLOAD)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "offload_web.packages.PackageFinder",
]
# Served from where they are, and asked about each time: an upgrade never meets yesterday's script.
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 0

AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
LOGIN_URL = "login"
# Cookies know no ports: two dashboards on one machine would log each other out under one name.
SESSION_COOKIE_NAME = f"offload_{sha256(str(OFFLOAD.home).encode()).hexdigest()[:8]}"
# Nor do they know whether they are for this server: only the path keeps them from every other port.
DASHBOARD_PATH = address.load_path(OFFLOAD.home)
SESSION_COOKIE_PATH = f"{DASHBOARD_PATH}/"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Strict"
CSRF_USE_SESSIONS = True
X_FRAME_OPTIONS = "DENY"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

LOGGING = logging.logging_settings(debug=DEBUG)
