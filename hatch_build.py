"""What the package's build does besides copying: it compiles the kernels of merging.

Where there is no C compiler the package is built without, and merges more slowly.
"""

import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelHook(BuildHookInterface):
    """Compiles the C of `merging` into the wheel, and says for which platform that is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        folder = Path(self.root, "src", "stockpot", "merging")
        # Alone: the package's own dependencies are not there while it is built.
        spec = importlib.util.spec_from_file_location("kernel_build", folder / "build.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        why = module.build_all(folder)
        if why is not None:
            self.app.display_warning(f"no compiled kernel, merging will be slower: {why}")
            return
        for library in module.LIBRARIES:
            build_data["force_include"][str(folder / library)] = f"stockpot/merging/{library}"
        # It needs no version of Python, only this kind of machine.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False
