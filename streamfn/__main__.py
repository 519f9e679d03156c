"""``python -m streamfn`` and the command ``streamfn``.

Invariant: nothing that takes time is imported outside ``main``, so that Ctrl-C is never answered by
a traceback.
"""

import sys


def main() -> None:
    """Run the command line and end the process."""
    try:
        from streamfn.cli.main import main as command

        command()
    except KeyboardInterrupt:  # while modules were imported; the verbs see to their own
        sys.exit(130)


if __name__ == "__main__":
    main()
