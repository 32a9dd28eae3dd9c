"""``python -m unimiss``, and the command ``unimiss``."""

import os

# Waiting threads sleep instead of spinning: beside two busy programs a small step on two cores then takes 1 s
# instead of up to 8, and on idle cores 0.17 s instead of 0.11. It has to be said before torch loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from unimiss.cli import main

if __name__ == "__main__":
    main()
