"""``python -m tokbench``."""

from tokbench.entry import main

if __name__ == "__main__":
    main()
