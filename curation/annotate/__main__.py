"""Run the command `python -m curation.annotate`."""

from curation.annotate.annotate import command

if __name__ == "__main__":
    command()
