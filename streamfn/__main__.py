"""``python -m streamfn``: the command line, without its script being installed."""

from streamfn.cli.main import main

if __name__ == "__main__":
    main()
