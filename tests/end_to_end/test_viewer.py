"""The viewer's page in headless Chromium: a person in the picture, who moves with the time slider."""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

BROWSER_FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
STARTUP_SECONDS = 120.0
SETTLE_SECONDS = 60.0


@pytest.fixture(scope="module", params=["trained_run", "splat_run"])
def run(request: pytest.FixtureRequest) -> Path:
    """A run of a method that renders rays, and of one that renders whole images."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def viewer_address(run: Path) -> Iterator[str]:
    """The address of an ns-viewer on a run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "ns-viewer"), "--load-config", str(run),
            "--viewer.websocket-port", str(port), "--viewer.websocket-host", "127.0.0.1",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        assert server.poll() is None, server.communicate()[0]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate(timeout=20)


@pytest.fixture(scope="module")
def page(viewer_address: str) -> Iterator[Page]:
    """The viewer's page."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium is not None, "this test needs a Chromium: install the system's package chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS)
        opened = browser.new_page(viewport={"width": 900, "height": 600})
        opened.goto(viewer_address, wait_until="domcontentloaded")
        yield opened
        browser.close()


def _picture(page: Page) -> np.ndarray:
    """The part of the page that shows the scene, left of the panel."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return np.asarray(image, dtype=np.float32)[60:, :560]


def _settled(page: Page, differs_from: np.ndarray | None = None) -> np.ndarray:
    """The picture once it holds a person, differs from an earlier one where asked, and no longer changes."""
    deadline = time.monotonic() + SETTLE_SECONDS
    last = _picture(page)
    while time.monotonic() < deadline:
        page.wait_for_timeout(1500)
        current = _picture(page)
        has_content = current.std() > 3
        is_new = differs_from is None or np.abs(current - differs_from).mean() > 0.3
        if has_content and is_new and np.abs(current - last).mean() < 0.05:
            return current
        last = current
    raise AssertionError("the viewer's picture did not settle into a new one in time")


def test_the_time_slider_moves_the_person(page: Page) -> None:
    before = _settled(page)
    # The person stands in the middle of the first view, not behind or around the camera.
    middle = before[:, 200:400]
    assert middle.std() > before[:, :60].std()
    label = page.get_by_text("Time", exact=True).first
    slider = label.locator("xpath=ancestor::*[.//input][1]//input").last
    slider.fill("1.0")
    slider.press("Enter")
    after = _settled(page, differs_from=before)
    slider.fill("0.0")
    slider.press("Enter")
    again = _settled(page, differs_from=after)
    assert np.abs(again - before).mean() < np.abs(after - before).mean() / 2


@pytest.mark.parametrize("run", ["splat_run"], indirect=True)
def test_the_crop_tools_cut_splats_and_colour_what_is_behind_them(page: Page) -> None:
    before = _settled(page)
    page.get_by_label("Enable", exact=True).last.check()
    cropped = _settled(page, differs_from=before)
    # The box reaches half a metre up from the ground: the legs stay.
    middle = np.abs(cropped - cropped[:40, :40].mean((0, 1))).max(-1)[:, 200:400] > 30
    assert not middle[: len(middle) // 2].any()
    assert middle[len(middle) // 2 :].any()
    label = page.get_by_text("Background color", exact=True)
    field = label.locator("xpath=ancestor::*[.//input][1]//input")
    field.fill("#c82828")
    field.press("Enter")
    red = _settled(page, differs_from=cropped)
    np.testing.assert_allclose(red[:40, :40].mean((0, 1)), (200, 40, 40), atol=12)
