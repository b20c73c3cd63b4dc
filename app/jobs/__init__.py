"""The one way in which long work runs: control.Jobs is what pages call, runner.py does the work when they are gone."""
