"""Every Dockerfile: what it copies is there, what it installs is hashed, and nobody in it is root."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path

import pytest
import yaml

from predictors.multitask_nlp.training.made.recipe import ENCODER
from tests.support.charts import CASES, CHART, case_flags, containers, pod_specs, render

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILES = sorted(
    file for file in ROOT.glob("*/**/Dockerfile") if not file.relative_to(ROOT).parts[0].startswith(".")
)
IDS = [str(file.parent.relative_to(ROOT)) for file in DOCKERFILES]
MADE = {".local/demo-models"}
"""Made before the build: hack/demo_image."""

Instruction = tuple[str, str]


def instructions(file: Path) -> list[Instruction]:
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE))
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def stages(file: Path) -> list[list[Instruction]]:
    found: list[list[Instruction]] = [[]]
    for instruction in instructions(file):
        if instruction[0] == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found[1:]


def shipped(file: Path, target: str | None = None) -> list[Instruction]:
    """All that a stage stands on, the libraries it copies left out; the last one is the image."""
    named = {name: stage for stage in stages(file) if (name := stage[0][1].partition(" AS ")[2])}
    stage = named[target] if target else stages(file)[-1]
    found = list(stage)
    while (base := stage[0][1].split()[0]) in named:
        stage = named[base]
        found = stage + found
    return found


def ignored(path: str) -> bool:
    """As .dockerignore says: the last line that fits decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        prefixes = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        if any(fnmatch.fnmatch(prefix, pattern) for prefix in prefixes):
            out = not line.startswith("!")
    return out


def copied(found: list[Instruction]) -> set[str]:
    """What they take from the clone."""
    return {
        source
        for word, rest in found
        if word == "COPY" and "--from=" not in rest
        for source in rest.split()[:-1]
    }


def builds(file: Path) -> dict[str, str]:
    """The commands that its first lines say, by the image they make."""
    head = " ".join(line.lstrip("# ") for line in file.read_text().partition("\nARG ")[0].splitlines())
    commands = re.findall(r"docker build .*? \.(?=\s|$)", re.sub(r"\\ ", "", head))
    return {command.split()[command.split().index("-t") + 1]: command for command in commands}


def test_there_are_dockerfiles() -> None:
    assert {"gateway", "hack/demo_image", "predictors/gpt2", "predictors/gpt4_nano"} <= set(IDS)


@pytest.mark.parametrize("file", DOCKERFILES, ids=IDS)
def test_what_is_copied_is_there_and_reaches_the_build(file: Path) -> None:
    for source in copied(instructions(file)):
        assert source in MADE or (ROOT / source).exists(), source
        assert not ignored(source), f"{source} is in .dockerignore"


def test_every_image_that_the_chart_names_is_made_by_a_command_that_a_dockerfile_says() -> None:
    ours = [case for case in CASES if case != "company"]  # which has a registry and tags of its own
    training = ["--set", "training.enabled=true", "--set", "mlflow.url=http://mlflow.mlops.svc:5000"]
    used = {
        container["image"]
        for flags in ([], training, *(case_flags(case) for case in ours))
        for _, spec, _ in pod_specs(render(*flags))
        for container in containers(spec)
    }
    assert used == {image for file in DOCKERFILES for image in builds(file)}


@pytest.mark.parametrize(
    ("page", "model", "image"),
    [
        ("gpu-nodes", "text_evaluator", "text-evaluator-cuda"),
        ("train", "multitask_nlp", "multitask-nlp-training"),
    ],
)
def test_how_to_says_how_an_image_of_its_own_is_made(page: str, model: str, image: str) -> None:
    said = re.sub(r"[\\\s]+", " ", (ROOT / "docs" / "how-to" / f"{page}.md").read_text())
    assert builds(ROOT / "predictors" / model / "Dockerfile")[f"quintet/{image}:0.1.0"] in said


@pytest.mark.parametrize("file", DOCKERFILES, ids=IDS)
def test_the_base_can_be_chosen_and_names_no_registry(file: Path) -> None:
    first = instructions(file)[0]
    assert first[0] == "ARG"
    base = re.fullmatch(r"BASE_IMAGE=(\S+)", first[1])
    assert base
    assert re.fullmatch(r"[a-z0-9/-]+:[a-z0-9][a-z0-9.-]*", base[1])
    assert "latest" not in base[1]
    assert stages(file)[0][0][1].startswith("${BASE_IMAGE}")


@pytest.mark.parametrize("file", DOCKERFILES, ids=IDS)
def test_libraries_are_installed_by_their_hashes(file: Path) -> None:
    installs = [
        rest for word, rest in instructions(file) if word == "RUN" and re.search(r"pip (install|sync)", rest)
    ]
    assert all("--require-hashes" in rest for rest in installs)
    for word, rest in shipped(file):
        assert not (word == "RUN" and "pip" in rest), "what builds stays out of what is shipped"


@pytest.mark.parametrize("file", DOCKERFILES, ids=IDS)
def test_the_image_runs_as_nobody_without_a_shell(file: Path) -> None:
    users = [rest for word, rest in shipped(file) if word == "USER"]
    assert users[-1] == "65532:65532"
    (entry,) = (rest for word, rest in shipped(file) if word == "ENTRYPOINT")
    assert json.loads(entry)[0] == "python3", "the exec form: signals reach the program"
    assert not any(word == "CMD" for word, _ in shipped(file))


@pytest.mark.parametrize("file", DOCKERFILES, ids=IDS)
def test_the_image_says_what_it_is(file: Path) -> None:
    labels = " ".join(rest for word, rest in shipped(file) if word == "LABEL")
    for name in ("title", "description", "version", "revision", "licenses"):
        assert f"org.opencontainers.image.{name}=" in labels
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert ("ARG", f"VERSION={version}") in shipped(file), "what it is told where nobody says otherwise"


@pytest.mark.parametrize("file", DOCKERFILES, ids=IDS)
def test_what_differs_from_commit_to_commit_comes_last(file: Path) -> None:
    """A layer below a changed REVISION would be built again."""
    for stage in stages(file):
        words = [word for word, _ in stage]
        if "LABEL" in words:
            assert words[-4:] == ["ENTRYPOINT", "ARG", "ARG", "LABEL"]


@pytest.mark.parametrize(
    "file", [f for f in DOCKERFILES if "predictors" in f.parts], ids=lambda f: f.parent.name
)
def test_a_predictor_s_image_holds_its_model_and_no_other(file: Path) -> None:
    model = file.parent.name
    assert copied(shipped(file)) == {"predictors/__init__.py", "predictors/runtime", f"predictors/{model}"}
    locks = {source for source in copied(instructions(file)) if source.startswith("requirements/")}
    name = f"requirements/{model.replace('_', '-')}"
    assert {"requirements/uv.txt", f"{name}.txt"} <= locks
    assert all(lock == "requirements/uv.txt" or lock.startswith(name) for lock in locks)
    (entry,) = (rest for word, rest in shipped(file) if word == "ENTRYPOINT")
    assert json.loads(entry) == ["python3", "-m", f"predictors.{model}"]


@pytest.mark.parametrize("file", DOCKERFILES, ids=IDS)
def test_only_the_image_for_development_can_be_changed(file: Path) -> None:
    assert not any("chown" in rest for _, rest in shipped(file))
    development = [stage for stage in stages(file) if stage[0][1].endswith(" AS dev")]
    for stage in development:
        assert stage[-1] == ("USER", "65532:65532")
        assert ("RUN", "chown -R 65532:65532 /app") in stage


@pytest.mark.parametrize("lock", ["gpt2", "gpt4-nano", "multitask-nlp", "gateway"])
def test_an_image_that_needs_no_torch_has_none(lock: str) -> None:
    assert "\ntorch==" not in f"\n{(ROOT / 'requirements' / f'{lock}.txt').read_text()}"


def test_the_image_that_trains_is_one_more_and_serving_s_has_nothing_of_it() -> None:
    file = ROOT / "predictors/multitask_nlp/Dockerfile"
    training, serving = shipped(file, "training"), shipped(file)
    assert copied(training) == copied(serving)
    assert ("USER", "65532:65532") in training
    assert not any(word == "RUN" for word, _ in training), "what builds stays out of what is shipped"
    (libraries,) = (rest for word, rest in training if word == "COPY" and "--from=" in rest)
    assert libraries == "--from=training-libraries /opt/venv /opt/venv"
    assert "multitask-nlp-training.txt" in str(shipped(file, "training-libraries"))
    assert "training-libraries" not in str(serving)
    (entry,) = (rest for word, rest in training if word == "ENTRYPOINT")
    assert json.loads(entry) == ["python3", "-m", "predictors.multitask_nlp.training", "train"]
    title = re.search(r'title="([^"]+)"', str(training))
    assert title
    assert title[1] == "quintet/multitask-nlp-training"


def test_the_made_data_and_their_encoder_can_be_trained_on_without_a_hub() -> None:
    lock = (ROOT / "requirements" / "multitask-nlp-training.txt").read_text()
    assert f"\n{ENCODER}==" in lock
