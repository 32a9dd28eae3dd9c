"""``python -m unimiss``, and the command ``unimiss``."""

import os

# Waiting threads sleep instead of spinning: beside one busy program (a viewer, say) a training step on two
# cores then takes 1 s instead of 5. It has to be said before torch loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from unimiss.cli import main

if __name__ == "__main__":
    main()
