"""``python -m axiom_persistence`` is the command ``axiom-persistence``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
