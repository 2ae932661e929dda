"""What an image is made of, and when it is made again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hack.cluster import images

DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS libraries
COPY requirements/uv.txt \\
     requirements/gpt2.txt /tmp/
FROM ${BASE_IMAGE}
COPY --from=libraries /opt/venv /opt/venv
COPY --chown=65532:65532 predictors/gpt2 predictors/gpt2
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    files = {
        "predictors/gpt2/Dockerfile": DOCKERFILE,
        "predictors/gpt2/engine.py": "1",
        "predictors/gpt2/__pycache__/engine.pyc": "1",
        "predictors/gpt3/engine.py": "1",
        "requirements/uv.txt": "1",
        "requirements/gpt2.txt": "1",
        ".dockerignore": "*",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_a_dockerfile_copies_is_what_the_image_is_made_of(clone: Path) -> None:
    assert images.inputs(clone / "predictors/gpt2/Dockerfile") == [
        "requirements/uv.txt",
        "requirements/gpt2.txt",
        "predictors/gpt2",
    ]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("predictors/gpt2/engine.py", True),
        ("predictors/gpt2/Dockerfile", True),
        ("requirements/uv.txt", True),
        ("requirements/gpt2.txt", True),
        (".dockerignore", True),
        ("predictors/gpt3/engine.py", False),
        ("predictors/gpt2/__pycache__/engine.pyc", False),
    ],
)
def test_an_image_is_made_again_when_something_of_it_changes(clone: Path, changed: str, again: bool) -> None:
    image = images.Image("quintet/gpt2:1", clone / "predictors/gpt2/Dockerfile")
    before = images.state(image, "base:1", clone)
    (clone / changed).write_text("2")
    assert (images.state(image, "base:1", clone) != before) == again


def test_an_image_is_made_again_on_another_base(clone: Path) -> None:
    image = images.Image("quintet/gpt2:1", clone / "predictors/gpt2/Dockerfile")
    assert images.state(image, "base:1", clone) != images.state(image, "base:2", clone)


def test_triton_s_downloader_is_part_of_gpt4_nano() -> None:
    (image,) = (i for i in images.ours("1", ["gpt4_nano"]) if "gpt4-nano" in i.name)
    assert {
        "hack/triton.py",
        "hack/triton.txt",
        "hack/system.py",
        "requirements/gpt4-nano-backends.txt",
        "requirements/uv.txt",
    } <= set(images.inputs(image.dockerfile))


def test_an_image_is_told_its_version_and_revision() -> None:
    image = images.Image("quintet/gpt2:1.2.3", Path("Dockerfile"))
    assert images.told(image, "abc") == ["--build-arg", "VERSION=1.2.3", "--build-arg", "REVISION=abc"]


def test_the_revision_is_the_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    assert images.revision(tmp_path) == "unknown", "no clone"
    git = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run([*git, "init", "--quiet"], check=True)
    (tmp_path / "file").write_text("1")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "one"], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert images.revision(tmp_path) == head
    (tmp_path / "file").write_text("2")
    assert images.revision(tmp_path) == f"{head}-dirty"
