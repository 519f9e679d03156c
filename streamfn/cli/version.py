"""``streamfn version``: what is installed, for a bug report."""

import platform

import typer


def version() -> None:
    """Show the versions of streamfn and of what it stands on.

    Put them into a bug report.
    """
    from importlib import import_module

    rows = {
        "streamfn": import_module("streamfn").__version__,
        "python": platform.python_version(),
        **_packages(),
    }
    for name, found in rows.items():
        typer.echo(f"{name:<16} {found}")


def _packages() -> dict[str, str]:
    found = {name: _installed(name) for name in ("confluent-kafka", "rocksdict", "msgspec")}
    try:
        from confluent_kafka import libversion
    except ImportError as error:
        found["librdkafka"] = f"not usable: {error}"
    else:
        found["librdkafka"] = libversion()[0]
    return found


def _installed(package: str) -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(package)
    except PackageNotFoundError:
        return "not installed"
