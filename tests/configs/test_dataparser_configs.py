"""The data parser's entry point: light, importable first, and known to nerfstudio."""

import subprocess
import sys

import pytest

from human_avatars.configs.dataparser_configs import zju_mocap_data
from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig

MODULES = (
    "human_avatars.configs.dataparser_configs",
    "human_avatars.data.dataparsers.zju_mocap",
    "human_avatars.data.subject_dataset",
    "human_avatars.data.subject_datamanagers",
)


def _python(code: str) -> str:
    finished = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_specification_holds_the_data_parsers_defaults() -> None:
    assert zju_mocap_data.config == ZjuMocapDataParserConfig()


@pytest.mark.parametrize("module", MODULES)
def test_each_module_can_be_imported_first(module: str) -> None:
    _python(f"import {module}")


def test_the_entry_point_loads_no_datamanager_no_model_and_no_heavy_package() -> None:
    code = f"import sys, {MODULES[0]}; print(*sys.modules)"
    loaded = _python(code).split()
    assert not [name for name in loaded if name.startswith(("nerfstudio.data.datamanagers", "nerfstudio.models"))]
    assert not {"open3d", "smplx", "scipy", "skimage", "av"} & set(loaded)


def test_nerfstudio_offers_the_data_parser() -> None:
    definition = f"zju-mocap-data={MODULES[0]}:zju_mocap_data"
    os_environment = f"import os; os.environ['NERFSTUDIO_DATAPARSER_CONFIGS'] = {definition!r}; "
    code = (
        "from nerfstudio.configs.dataparser_configs import all_dataparsers; print('zju-mocap-data' in all_dataparsers)"
    )
    assert _python(os_environment + code).splitlines()[-1] == "True"
