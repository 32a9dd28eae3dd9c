"""Put the manifest where npe2 looks for it in an editable install: inside the plugin package."""

import os
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManifestHook(BuildHookInterface):
    """Wheels carry `napari.yaml` through `force-include`; an editable install reads the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version != "editable":
            return
        target = Path(self.root) / "napari_unimiss" / "napari.yaml"
        target.unlink(missing_ok=True)
        try:
            os.symlink(os.path.join("..", "napari.yaml"), target)
        except OSError:  # Windows without the right to make links
            shutil.copyfile(Path(self.root) / "napari.yaml", target)
