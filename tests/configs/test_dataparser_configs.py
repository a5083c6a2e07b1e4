"""The data parsers' entry points: light, importable first, and known to nerfstudio."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import tyro
import yaml

from human_avatars.configs.dataparser_configs import gaussian_avatar_data, zju_mocap_data
from human_avatars.data import dataparsers
from human_avatars.data.dataparsers.gaussian_avatar import GaussianAvatarDataParserConfig
from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig

ENTRY_POINT = "human_avatars.configs.dataparser_configs"


def _python(code: str) -> str:
    finished = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_specification_holds_the_data_parsers_defaults() -> None:
    assert zju_mocap_data.config == ZjuMocapDataParserConfig()
    assert gaussian_avatar_data.config == GaussianAvatarDataParserConfig()


def test_the_datamanagers_can_be_imported_first() -> None:
    _python("import human_avatars.data.subject_datamanagers")


def test_the_entry_point_comes_first_and_loads_no_datamanager_no_model_and_no_heavy_package() -> None:
    loaded = _python(f"import {ENTRY_POINT}, sys; print(*sys.modules)").split()
    assert not [name for name in loaded if name.startswith(("nerfstudio.data.datamanagers", "nerfstudio.models"))]
    assert not {"open3d", "smplx", "scipy", "skimage", "av"} & set(loaded)


@pytest.mark.parametrize("name", ["zju-mocap-data", "gaussian-avatar-data"])
def test_nerfstudio_offers_the_data_parser(name: str) -> None:
    definition = f"{name}={ENTRY_POINT}:{name.replace('-', '_')}"
    os_environment = f"import os; os.environ['NERFSTUDIO_DATAPARSER_CONFIGS'] = {definition!r}; "
    code = f"from nerfstudio.configs.dataparser_configs import all_dataparsers; print('{name}' in all_dataparsers)"
    assert _python(os_environment + code).splitlines()[-1] == "True"


@pytest.mark.parametrize(
    ("files", "config"),
    [("zju_*.py", ZjuMocapDataParserConfig), ("gaussian_avatar*.py", GaussianAvatarDataParserConfig)],
)
def test_the_options_that_messages_name_exist(files: str, config: type) -> None:
    package = Path(dataparsers.__file__).parent
    named = {option for file in package.glob(files) for option in re.findall(r"--[a-z][a-z-]+", file.read_text())}
    offered = {f"--{item.name.replace('_', '-')}" for item in fields(config)}
    assert len(named) > 3
    assert named <= offered


def test_options_reach_the_config_and_survive_config_yml() -> None:
    arguments = "--data x --train-cameras 0 6 --novel-pose-frames 0 0 --body-model-path a.pkl --box-padding 0 0 0.1"
    config = tyro.cli(ZjuMocapDataParserConfig, args=arguments.split())
    assert config == ZjuMocapDataParserConfig(
        data=Path("x"),
        train_cameras=(0, 6),
        novel_pose_frames=(0, 0),
        body_model_path=Path("a.pkl"),
        box_padding=(0.0, 0.0, 0.1),
    )
    assert yaml.load(yaml.dump(config), Loader=yaml.Loader) == config


def test_options_of_gaussian_avatars_layout_reach_the_config_and_survive_config_yml() -> None:
    arguments = "--data x --poses refined --body-model-path a.pkl --image-scale 0.5"
    config = tyro.cli(GaussianAvatarDataParserConfig, args=arguments.split())
    assert config == GaussianAvatarDataParserConfig(
        data=Path("x"), poses="refined", body_model_path=Path("a.pkl"), image_scale=0.5
    )
    assert yaml.load(yaml.dump(config), Loader=yaml.Loader) == config
