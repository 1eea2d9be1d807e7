"""`python -m imgedit.cli`: the command `imgedit`."""

from imgedit.cli.main import app

if __name__ == "__main__":
    app()
