"""The data parsers that nerfstudio discovers.

This module is apart from the methods', and imports neither models nor datamanagers: nerfstudio's datamanagers import
it, so anything that imports a datamanager from here closes a circle.
"""

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from human_avatars.data.dataparsers.gaussian_avatar import GaussianAvatarDataParserConfig
from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig

zju_mocap_data = DataParserSpecification(
    config=ZjuMocapDataParserConfig(),
    description="ZJU-MoCap and captures in its layout, such as the demo's.",
)
gaussian_avatar_data = DataParserSpecification(
    config=GaussianAvatarDataParserConfig(),
    description="A person before one camera, in GaussianAvatar's layout.",
)
