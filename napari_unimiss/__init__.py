"""UniMiSS in napari. Research use only; not a medical device."""
