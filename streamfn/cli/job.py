"""What a supervisor gives a worker process to do: one line of JSON on its stdin.

Passwords are among it, so it goes by a pipe, never by an argument or a variable of the environment.
Invariant: printing a job tells no setting.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from streamfn.config import ClientSettings, Config


class Job(msgspec.Struct, frozen=True):
    """A program, its settings, and where to write the status to."""

    target: str
    settings: dict[str, Any]
    create_topics: bool = False
    status_fd: int = -1

    def __repr__(self) -> str:
        return f"Job({self.target!r})"

    def config(self) -> Config:
        """The settings as they were."""
        settings = dict(self.settings)
        settings["state_dir"] = Path(settings["state_dir"])
        settings["client_settings"] = ClientSettings(settings["client_settings"])
        return Config(**settings)


def job_of(target: str, config: Config, *, create_topics: bool) -> Job:
    """Write a job down."""
    settings = {field.name: getattr(config, field.name) for field in fields(config)}
    settings["state_dir"] = str(config.state_dir)
    settings["client_settings"] = dict(config.client_settings)
    return Job(target, settings, create_topics)


def line_of(job: Job) -> bytes:
    """Write a job as a line."""
    return msgspec.json.encode(job) + b"\n"


def job_on(line: bytes) -> Job | None:
    """Read a job; None if the line is none."""
    try:
        return msgspec.json.decode(line, type=Job)
    except msgspec.MsgspecError:
        return None
