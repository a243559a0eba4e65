"""`python -m gen_models`: the command `gen-models`, whatever folders called `tools` or `experiments` there are."""

from gen_models.run.entry import main

if __name__ == "__main__":
    main()
