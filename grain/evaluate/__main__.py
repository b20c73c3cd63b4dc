"""Run the command `python -m grain.evaluate`."""

from grain.command import run_command
from grain.evaluate.evaluate import EvaluateConfig, main

if __name__ == "__main__":
    run_command(main, EvaluateConfig, module="grain.evaluate")
