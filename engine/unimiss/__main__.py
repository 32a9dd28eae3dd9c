"""``python -m unimiss``."""

from unimiss.cli import main

if __name__ == "__main__":
    main()
