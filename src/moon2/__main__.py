"""`python -m moon2`, the same as the `moon2` command."""

import sys

from moon2.cli import main

if __name__ == "__main__":
    sys.exit(main())
