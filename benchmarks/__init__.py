"""Every number that docs/benchmarks.md claims, re-runnable: `python -m benchmarks.run --list` names them."""
