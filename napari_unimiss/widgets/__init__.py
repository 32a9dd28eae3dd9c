"""The plugin's docks, one a file, and the pieces that they share."""
