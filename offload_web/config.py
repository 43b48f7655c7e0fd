"""The settings of Offload: options > `OFFLOAD_*` > config.toml > defaults.

`load()` reads the environment and the file once. The source of each value is kept, for `doctor`. Settings of
a repository (`.offload/config.toml` of its base branch) belong to the plan of a job and are not read here.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from jobs.errors import NotConfigured
from jobs.home import DATABASE, locate_home
from jobs.states import NoticeKind


@dataclass(frozen=True)
class Setting:
    """One setting: its key in config.toml (its variable is `OFFLOAD_<KEY>`), its type and its default."""

    key: str
    read: Callable[[Any], Any]
    default: Any
    help: str

    @property
    def variable(self) -> str:
        """Return the environment variable's name."""
        return f"OFFLOAD_{self.key.upper()}"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text")
    return value


def _whole(value: Any) -> int:
    try:
        number = int(value)
    except ValueError:
        number = -1
    if number < 0 or isinstance(value, (bool, float)):
        raise ValueError("is not a whole number")
    return number


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    try:
        return words[str(value).strip().lower()]
    except KeyError:
        raise ValueError("is not true or false") from None


def _container(value: Any) -> str:
    if value not in ("auto", "never"):
        raise ValueError("is neither auto nor never")
    return str(value)


def _model_api(value: Any) -> str:
    if value not in ("", "gemini", "anthropic", "openai"):
        raise ValueError("is none of gemini, anthropic, openai")
    return str(value)


def _agent_network(value: Any) -> str:
    if value not in ("gateway", "worker"):
        raise ValueError("is neither gateway nor worker")
    return str(value)


def _names(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value)
    return tuple(part.strip() for part in parts if part.strip())


def _notify(value: Any) -> tuple[str, ...]:
    words = _names(value)
    if words and "://" in words[0]:
        parts = urlsplit(words[0])
        local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
        if len(words) > 1 or not parts.hostname or not (parts.scheme == "https" or local):
            raise ValueError("is neither a command nor one https address")
    return words


def _notice_kinds(value: Any) -> tuple[str, ...]:
    kinds = _names(value)
    if unknown := set(kinds) - set(NoticeKind):
        raise ValueError(f"names {', '.join(sorted(unknown))}, and the kinds are {', '.join(NoticeKind)}")
    return kinds


def _rules(value: Any) -> tuple[str, ...]:
    names = _names(value)
    if set(names) - {"status"}:
        raise ValueError("is not a list of kinds that may be sent by a rule; there is one: status")
    return names


def _classes(value: Any) -> tuple[str, ...]:
    found = _names(value)
    for one in found:
        repository, _, pool = one.rpartition("=")
        if not repository or not pool:
            raise ValueError(f"holds {one!r}, which is not REPOSITORY=POOL")
    return found


SETTINGS: tuple[Setting, ...] = (
    Setting("repo", _text, "", "Repository to use when none is given and the current directory has none."),
    Setting(
        "url",
        _text,
        "",
        "Dashboard whose jobs the command line is about, with its path; empty: those of this computer.",
    ),
    Setting("worker", _text, "local", "Worker to use when none is given."),
    Setting("classes", _classes, (), "Pools by repository, for jobs without --worker: REPOSITORY=POOL, ..."),
    Setting("worker_root", _text, "", "Offload's root on the local worker (default ~/.offload)."),
    Setting(
        "container",
        _container,
        "auto",
        "Containers for code of remote repositories on the local worker. auto: when possible; or never.",
    ),
    Setting(
        "max_jobs",
        _whole,
        0,
        "Jobs that run at once on one worker; 0: two for each of its cores, one for each GiB of its memory.",
    ),
    Setting("parallel", _whole, 0, "Tasks that run at once in one job; 0: the cores of the worker."),
    Setting("host", _text, "127.0.0.1", "Address that `serve` listens on."),
    Setting("port", _whole, 8765, "Port that `serve` listens on; 0: any free one."),
    Setting("allowed_hosts", _names, (), "Host names that the dashboard accepts in addition to localhost."),
    Setting(
        "database_url",
        _text,
        "",
        "PostgreSQL database, postgres://...; empty: SQLite in the state directory.",
    ),
    Setting(
        "agent_command", _text, "", "Command of the agent `generic`: reads the prompt, prints the answer."
    ),
    Setting("agent_screen", _text, "", "Command of the agent `generic` on a terminal, for `open`."),
    Setting("agent_secrets", _names, (), "Names of the secrets that the agent `generic` holds itself."),
    Setting(
        "agent_api",
        _model_api,
        "",
        "Model API of the agent `generic`: gemini, anthropic or openai. Its key then stays in the gateway.",
    ),
    Setting("agent_url", _text, "", "Address of the agent's model API; empty: its usual one."),
    Setting("agent_model", _text, "", "Model that the agent uses; empty: the agent's own choice."),
    Setting(
        "forge_apis", _names, (), "API addresses of forges on other addresses than the usual: HOST=URL, ..."
    ),
    Setting(
        "auto_send",
        _rules,
        (),
        "Kinds of drafts that `serve` sends without asking: status. Everything else needs your yes.",
    ),
    Setting(
        "agent_network",
        _agent_network,
        "gateway",
        "Network of an agent in a container. gateway: only its model, by the gateway; or worker.",
    ),
    Setting("agent_tokens", _whole, 0, "Tokens that the agent of one job may use; 0: no limit."),
    Setting(
        "notify",
        _notify,
        (),
        "Command or https address that tells you what happens to jobs; `serve` runs it. Empty: none.",
    ),
    Setting("notify_kinds", _notice_kinds, tuple(kind.value for kind in NoticeKind), "What it tells."),
    Setting("gcp_project", _text, "", "Google Cloud project in which machines are created."),
    Setting("gcp_zones", _names, (), "Zones to try for a machine, in this order."),
    Setting("gcp_machine_type", _text, "", "Machine type of new machines (default n2-standard-8)."),
    Setting("gcp_network", _text, "", "Existing network for machines; empty: Offload creates its own."),
    Setting("gcp_strategy", _text, "", "How machines are reached: iap (default), internal, external, auto."),
    Setting("gcp_source", _text, "", "Address range that may use ssh (default: Google's proxy only)."),
    Setting("gcp_user", _text, "", "Your OS Login user name on machines."),
    Setting("gcp_key", _text, "", "Private ssh key for machines (default: a key that OS Login knows)."),
    Setting("gcp_image", _text, "", "Container image on machines, by digest."),
    Setting(
        "gcp_service_account",
        _text,
        "",
        "Service account of machines; empty: none, so they have no access to Google APIs.",
    ),
    Setting("max_terminals", _whole, 200, "Browser terminals that one server keeps open at once."),
    Setting("debug", _flag, False, "Show Django's debug pages. Never use it on a shared machine."),
)


@dataclass(frozen=True)
class Config:
    """The settings of this process, and the directories that follow from them."""

    home: Path
    config_file: Path
    values: Mapping[str, Any]
    sources: Mapping[str, str]
    isolated: bool = field(default=False)

    def __getattr__(self, key: str) -> Any:
        try:
            return self.values[key]
        except KeyError:
            raise AttributeError(key) from None

    def known(self) -> Mapping[str, str]:
        """Return the key of every setting with its meaning."""
        return {setting.key: setting.help for setting in SETTINGS}

    def write(self, changes: Mapping[str, str]) -> Path:
        """Set keys in config.toml, leaving the rest of the file as it is; return its path.

        Raises `NotConfigured` for a value that the setting does not take; nothing is written then.
        """
        import tomlkit  # only this verb writes, and every command would load it

        by_key = {setting.key: setting for setting in SETTINGS}
        document = tomlkit.parse(self.config_file.read_text("utf-8") if self.config_file.exists() else "")
        for key, text in changes.items():
            try:
                value = by_key[key].read(text)
            except (TypeError, ValueError) as error:
                raise NotConfigured(
                    f"Setting {key!r} failed: {text!r} {error}.", hint=by_key[key].help
                ) from error
            document[key] = list(value) if isinstance(value, tuple) else value
        self.config_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self.config_file.with_suffix(".new")
        draft.write_text(tomlkit.dumps(document), "utf-8")
        draft.replace(self.config_file)
        return self.config_file

    @property
    def default_worker_root(self) -> str:
        """Return the root of the local worker without any setting."""
        return str(Path.home() / ".offload")

    @property
    def local_root(self) -> str:
        """Return the root of the local worker. `OFFLOAD_HOME` moves it too."""
        if self.values["worker_root"]:
            return os.path.abspath(os.path.expanduser(str(self.values["worker_root"])))
        return str(self.home / "worker") if self.isolated else self.default_worker_root

    @property
    def database(self) -> Path:
        """Return the SQLite file."""
        return self.home / DATABASE

    @property
    def archive(self) -> Path:
        """Return the directory of archived logs, recordings and bundles of jobs."""
        return self.home / "archive"

    @property
    def logs(self) -> Path:
        """Return the directory of Offload's own logs."""
        return self.home / "logs"


def load(environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration. Raises `NotConfigured` naming the variable or the key that is wrong."""
    env = os.environ if environ is None else environ
    home, config_file = locate_home(env)
    from_file = _read_file(config_file)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in SETTINGS:
        if setting.variable in env:
            raw, source = env[setting.variable], setting.variable
        elif setting.key in from_file:
            raw, source = from_file.pop(setting.key), str(config_file)
        else:
            values[setting.key], sources[setting.key] = setting.default, "default"
            continue
        from_file.pop(setting.key, None)
        try:
            values[setting.key] = setting.read(raw)
        except (TypeError, ValueError) as error:
            raise NotConfigured(
                f"Reading the setting {setting.key!r} from {source} failed: {raw!r} {error}.",
                hint=setting.help,
            ) from error
        sources[setting.key] = source
    if from_file:
        known = ", ".join(setting.key for setting in SETTINGS)
        raise NotConfigured(
            f"{config_file} has unknown keys: {', '.join(sorted(from_file))}.", hint=f"Known keys: {known}."
        )
    return Config(
        home=home,
        config_file=config_file,
        values=values,
        sources=sources,
        isolated=bool(env.get("OFFLOAD_HOME")),
    )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NotConfigured(
            f"Reading {path} failed: {error}.", hint="Correct the file or move it away."
        ) from error


def database_settings(config: Config) -> dict[str, Any]:
    """Return Django's settings for the database: PostgreSQL by URL, else SQLite in WAL mode."""
    if config.database_url:
        return _postgres(config.database_url)
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": config.database,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


def _postgres(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql") or not parts.path.strip("/"):
        raise NotConfigured(
            "The setting 'database_url' is not a PostgreSQL URL.",
            hint="Write postgres://user@host:5432/name, or leave it empty for SQLite.",
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
    }
