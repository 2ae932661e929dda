"""The demo checkpoints' cache, with makers that take no time."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hack import demo_models
from hack.demo_models import DemoFailed, cache_folder, demo_checkpoint

MAKER = """
    import pathlib, sys, time
    print("making")
    time.sleep(0.3)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir()
    (folder / "made").write_text("x")
"""


def add_model(root: Path, name: str, maker: str = MAKER) -> Path:
    package = root / "predictors" / name / "demo"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(textwrap.dedent(maker))
    return package


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUINTET_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "clone"
    add_model(root, "alpha")
    (root / "predictors" / "runtime").mkdir()
    return root


def test_a_model_is_found_by_its_folder(root: Path) -> None:
    assert demo_models.demo_models(root) == ["alpha"]
    add_model(root, "sixth")
    assert demo_models.demo_models(root) == ["alpha", "sixth"]
    assert "prompt_classifier" in demo_models.demo_models()


def test_made_once(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = demo_checkpoint("alpha", root)
    assert (folder / "made").is_file()
    assert "making" in capfd.readouterr().err
    assert demo_checkpoint("alpha", root) == folder
    assert capfd.readouterr() == ("", "")


def test_the_folder_is_outside_the_clone_and_named_by_the_sources(root: Path, tmp_path: Path) -> None:
    folder = cache_folder("alpha", root)
    assert folder.parent == tmp_path / "cache" / "demo"
    name, digest = folder.name.rsplit("-", 1)
    assert (name, len(digest)) == ("alpha", 12)
    (root / "predictors" / "alpha" / "demo" / "data.py").write_text("X = 1\n")
    changed = cache_folder("alpha", root)
    assert changed != folder
    (root / "predictors" / "alpha" / "demo" / "data.py").rename(
        root / "predictors" / "alpha" / "demo" / "other.py"
    )
    assert cache_folder("alpha", root) not in (folder, changed)


def test_what_an_interpreter_leaves_does_not_change_the_name(root: Path) -> None:
    folder = cache_folder("alpha", root)
    cache = root / "predictors" / "alpha" / "demo" / "__pycache__"
    cache.mkdir()
    (cache / "data.cpython-311.pyc").write_bytes(b"x")
    assert cache_folder("alpha", root) == folder


def test_without_the_setting_it_is_in_the_home(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUINTET_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder("alpha", root).parent == tmp_path / "home" / ".cache" / "quintet" / "demo"


def test_an_unknown_model_is_named_with_those_there_are(root: Path) -> None:
    with pytest.raises(DemoFailed, match=r"no demo checkpoint for 'beta'; there is one for: alpha\."):
        demo_checkpoint("beta", root)


def test_a_maker_that_fails(root: Path) -> None:
    add_model(root, "broken", "raise SystemExit(3)")
    with pytest.raises(DemoFailed, match=r"of broken was not made \(exit status 3\)"):
        demo_checkpoint("broken", root)
    assert not cache_folder("broken", root).exists()


def test_a_cache_that_cannot_be_made(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("QUINTET_CACHE", str(tmp_path / "file"))
    with pytest.raises(DemoFailed, match="cannot be used"):
        demo_checkpoint("alpha", root)


def test_ctrl_c_waits_until_the_maker_has_cleaned_up(root: Path, tmp_path: Path) -> None:
    add_model(
        root,
        "tidy",
        """
        import pathlib, signal, sys, time
        partial = pathlib.Path(sys.argv[1] + ".partial")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            partial.write_text("x")
            print("making", flush=True)
            time.sleep(60)
        finally:
            time.sleep(1)  # longer than Python waits by itself
            partial.unlink()
        """,
    )
    with subprocess.Popen(
        [sys.executable, "-c", demo_script("tidy", root)],
        cwd=demo_models.ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as run:
        assert run.stderr is not None
        assert run.stderr.readline() == "making\n"
        run.send_signal(signal.SIGINT)
        run.wait()
        assert list((tmp_path / "cache" / "demo").glob("*.partial")) == []


def demo_script(model: str, root: Path) -> str:
    return (
        "from pathlib import Path; from hack.demo_models import demo_checkpoint;"
        f"print(demo_checkpoint({model!r}, Path({str(root)!r})))"
    )


def test_two_at_once_make_one(root: Path) -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", demo_script("alpha", root)],
            cwd=demo_models.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [run.communicate() for run in runs]
    assert {out.strip() for out, _ in outputs} == {str(cache_folder("alpha", root))}
    assert sum("making" in err for _, err in outputs) == 1


def test_the_command_prints_the_folders(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    add_model(root, "beta")
    monkeypatch.setattr(demo_models, "ROOT", root)
    assert demo_models.main([]) == 0
    assert capfd.readouterr().out.split() == [str(cache_folder(model, root)) for model in ("alpha", "beta")]
    assert demo_models.main(["gamma"]) == 1
    assert capfd.readouterr().err.startswith("error: There is no demo checkpoint for 'gamma'")
