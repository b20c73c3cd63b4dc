"""Run the command `python -m grain.train`."""

from grain.train.train import main

if __name__ == "__main__":
    main()
