"""Application-default credentials: found without waiting, loaded once, never printed or kept.

`google.auth.default()` runs gcloud for a project that we name ourselves, and asks the metadata server of a
machine that is not at Google up to three times, three seconds each. So the file is looked for here, and the
metadata server is asked only where there is one.
"""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import ConnectFailed, NotConfigured

FILE_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LOGIN = "gcloud auth application-default login"
INSTALL = "https://cloud.google.com/sdk/docs/install"
_PRODUCT = Path("/sys/class/dmi/id/product_name")
_METADATA_VARIABLES = ("GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP")


@dataclass(frozen=True)
class Found:
    """What was found: `source` (a file, or the metadata server), `kind`, and what they say of themselves.

    `email` is known of service accounts only; `quota_project` pays for requests that belong to no project.
    """

    source: str
    kind: str
    email: str = ""
    quota_project: str = ""


def how_to_log_in() -> str:
    """Return what to do when there are no credentials that work."""
    first = "" if shutil.which("gcloud") else f"Install gcloud ({INSTALL}). "
    return f"{first}Log in: `{LOGIN}`."


def _at_google(environ: Mapping[str, str]) -> bool:
    if environ.get("NO_GCE_CHECK") == "true":
        return False
    if any(environ.get(name) for name in _METADATA_VARIABLES):
        return True
    try:
        return _PRODUCT.read_text(encoding="utf-8").startswith("Google")
    except OSError:
        return False


def source() -> str:
    """Return the file that holds the credentials, or an empty text for the metadata server.

    Raises `NotConfigured` when there are none, or the file that was named is not there.
    """
    named = os.environ.get(FILE_VARIABLE, "")
    if named:
        if not Path(named).is_file():
            raise NotConfigured(
                f"There are no credentials for Google Cloud: {FILE_VARIABLE} names {named}, "
                "which is no file.",
                hint=f"Unset it, or name a file that exists. {how_to_log_in()}",
            )
        return named
    usual = str(_auth("_cloud_sdk").get_application_default_credentials_path())
    if Path(usual).is_file():
        return usual
    if _at_google(os.environ):
        return ""
    raise NotConfigured("There are no credentials for Google Cloud on this machine.", hint=how_to_log_in())


def load() -> Any:
    """Return the credentials object of google.auth. Raises `NotConfigured`."""
    return _load(source())


def found() -> Found:
    """Return what the credentials are, without asking anybody. Raises `NotConfigured`."""
    file = source()
    credentials = _load(file)
    kind = type(credentials).__module__.removeprefix("google.").replace(".", " ")
    names = {"oauth2 credentials": "a user", "oauth2 service_account": "a service account"}
    email = str(getattr(credentials, "service_account_email", "") or "")
    return Found(
        source=file or "the metadata server",
        kind=names.get(kind, kind),
        email=email if "@" in email else "",
        quota_project=str(getattr(credentials, "quota_project_id", "") or ""),
    )


def require_usable() -> None:
    """Get a token, once. Raises `NotConfigured` (Google gives none), `ConnectFailed` (no answer)."""
    credentials = load()
    if credentials.valid:
        return
    request = importlib.import_module("google.auth.transport.requests").Request()
    errors = importlib.import_module("google.auth.exceptions")
    try:
        credentials.refresh(request)
    except errors.RefreshError as error:
        raise NotConfigured(
            f"Google does not take the credentials any more: {reason_of(error)}.", hint=how_to_log_in()
        ) from error
    except errors.TransportError as error:
        raise ConnectFailed(
            f"Google does not answer, so the credentials could not be tried ({type(error).__name__}).",
            hint="Is this machine online?",
        ) from error


def reason_of(error: Exception) -> str:
    """Return what google.auth says went wrong, without the data that it adds (it may hold an answer)."""
    first = str(error.args[0]) if error.args else type(error).__name__
    return first.rstrip(".")[:200]


def _auth(module: str) -> Any:
    try:
        return importlib.import_module(f"google.auth.{module}")
    except ImportError as error:
        raise missing_library() from error


def missing_library() -> NotConfigured:
    """Return the error for an installation without Google's libraries."""
    return NotConfigured(
        "The Compute Engine client library is not installed.",
        hint="`make setup` installs it with everything else, or by hand: "
        f"`{sys.executable} -m pip install -r requirements.txt`.",
    )


@functools.lru_cache(maxsize=4)
def _load(file: str) -> Any:
    errors = _auth("exceptions")
    auth = importlib.import_module("google.auth")
    try:
        with warnings.catch_warnings():
            # What it warns of (no quota project) is a check of ours, with its remedy.
            warnings.simplefilter("ignore")
            if file:
                return auth.load_credentials_from_file(file, default_scopes=[SCOPE])[0]
            return auth.default(default_scopes=[SCOPE])[0]
    except errors.DefaultCredentialsError as error:
        raise NotConfigured(
            f"The credentials for Google Cloud in {file or 'the metadata server'} cannot be read: "
            f"{reason_of(error)}.",
            hint=how_to_log_in(),
        ) from error
