"""Parts of `label_efficiency.py`: its tasks, its starts, and the list of its results."""
