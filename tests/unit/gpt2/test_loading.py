"""Weights to models at the start: checkpoints converted once, limits checked, faults named."""

from __future__ import annotations

import multiprocessing
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from predictors.gpt2.artifact import FORMAT, MANIFEST, TOKENIZER, Artifact
from predictors.gpt2.engine.decoder import Completion, Work
from predictors.gpt2.engine.session import KERNELS, Session
from predictors.gpt2.loading import Loader
from predictors.gpt2.predictor import Gpt2
from predictors.gpt2.settings import Gpt2Settings
from predictors.gpt2.shape import LABELS, VOCAB
from predictors.gpt2.sources import GENERATE, SPAM, Source, find_sources
from predictors.gpt2.tokenizer import TextTokenizer
from predictors.runtime.cpus import available_cpus
from predictors.runtime.errors import LoadError
from tests.support.gpt2 import (
    run_everything,
    state_dict,
    whole_model,
    write_artifact,
    write_r50k,
    write_vocabulary,
)


def settings(folder: Path, **others: Any) -> Gpt2Settings:
    return Gpt2Settings(model_dir=folder, artifact_cache=folder / "cache", threads=1, **others)  # pyright: ignore[reportCallIssue]


@pytest.mark.slow
def test_a_checkpoint_is_converted_at_the_first_start_and_never_again(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    torch.save(state_dict(layers=1), tmp_path / "gpt2.pth")
    times = []
    for _ in range(2):
        predictor = Gpt2(settings(tmp_path))
        predictor.load(lambda _: None)
        predictor.self_test()
        (made,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
        assert made.name.endswith(f"-{FORMAT}")
        times.append((made / MANIFEST).stat().st_mtime_ns)
    assert times[0] == times[1]


@pytest.mark.slow
def test_what_stands_beside_a_checkpoint_is_part_of_what_was_converted(tmp_path: Path) -> None:
    """Another vocabulary is another tokenizer, though the weights are the same."""
    write_vocabulary(tmp_path)
    torch.save(state_dict(layers=1), tmp_path / "gpt2.pth")
    (source,) = find_sources(tmp_path, None).values()
    first = Loader(settings(tmp_path)).artifact(source)
    with (tmp_path / "vocab.bpe").open("r+") as merges:
        lines = merges.read().splitlines(keepends=True)
        merges.seek(0)
        merges.writelines([lines[0], *lines[2:]])  # without the first merge: " t"
        merges.truncate()
    second = Loader(settings(tmp_path)).artifact(source)
    texts = [TextTokenizer(artifact.path(TOKENIZER)).encode("a tea") for artifact in (first, second)]
    assert texts[0] != texts[1]
    assert Loader(settings(tmp_path)).artifact(source).folder == second.folder


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_converted_says_why(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    torch.save({"tok_emb.weight": torch.ones(3, 3)}, tmp_path / "gpt2.pth")
    loader = Loader(settings(tmp_path))
    with pytest.raises(LoadError, match=r"gpt2\.pth lacks|gpt2\.pth holds"):
        loader.artifact(find_sources(tmp_path, None)[GENERATE])
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


@pytest.mark.slow
def test_the_encoding_of_the_settings_is_the_one_converted_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``MODEL_NAME``, where tiktoken's cache has the vocabulary of that name alone."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(write_r50k(tmp_path).parent))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    torch.save(state_dict(layers=1), tmp_path / "gpt2.pth")
    monkeypatch.setenv("MODEL_NAME", "r50k_base")
    (source,) = find_sources(tmp_path, None).values()
    artifact = Loader(settings(tmp_path)).artifact(source)
    assert TextTokenizer(artifact.path(TOKENIZER)).encode("The king")


@pytest.mark.slow
def test_a_whole_model_object_is_refused_where_it_is_served(tmp_path: Path) -> None:
    """What a file wants to run is run only where somebody says so."""
    write_vocabulary(tmp_path)
    torch.save(whole_model(state_dict(layers=1), torch.nn.Module()), tmp_path / "gpt2.pth")
    with pytest.raises(LoadError, match=r"gpt2\.pth holds more than tensors.*convert --trust-pickle\.$"):
        Gpt2(settings(tmp_path)).load(lambda _: None)
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("threads", [1, None])
def test_the_engine_has_the_threads_of_the_settings_or_all_there_are(
    language: Artifact, monkeypatch: pytest.MonkeyPatch, threads: int | None
) -> None:
    if threads is not None:
        monkeypatch.setenv("TORCH_THREADS", str(threads))
    loaded = Loader(Gpt2Settings.from_environment()).load(GENERATE, language)
    compiled = loaded.session._request.get_compiled_model()
    assert compiled.get_property("INFERENCE_NUM_THREADS") == (threads or available_cpus())


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_artifact(tmp_path, state_dict(layers=1, outputs=LABELS), GENERATE)
    with pytest.raises(LoadError, match="not a model for the task generate"):
        Gpt2(settings(tmp_path)).load(lambda _: None)


def test_answers_must_leave_room_for_a_prompt(tmp_path: Path) -> None:
    write_artifact(tmp_path, state_dict(layers=1, context=128), GENERATE)
    with pytest.raises(
        LoadError, match=r"context of 128 tokens .*: QUINTET_MAX_NEW_TOKENS, 128, must leave room"
    ):
        Gpt2(settings(tmp_path, max_new_tokens=128)).load(lambda _: None)
    with pytest.raises(LoadError, match=r"context of 48 tokens .* MAX_CTX"):
        Gpt2(settings(tmp_path, max_context=48)).load(lambda _: None)


def test_a_small_context_for_little_memory(tmp_path: Path) -> None:
    """Spam is padded to its own length all the same: it is no sequence that grows."""
    for name, outputs in ((GENERATE, VOCAB), (SPAM, LABELS)):
        write_artifact(tmp_path, state_dict(layers=1, outputs=outputs), name)
    small, large = settings(tmp_path, max_context=16, max_new_tokens=8), settings(tmp_path)
    artifact = Loader(small).artifact(Source(GENERATE, tmp_path / GENERATE))
    saved = Loader(large).bytes_needed(artifact) - Loader(small).bytes_needed(artifact)
    assert saved == 2 * 2 * (8 + 1) * (128 - 16) * 64
    predictor = Gpt2(small)
    predictor.load(lambda _: None)
    predictor.self_test()
    item = predictor.parse({"prompt": "one two three four " * 9, "max_new_tokens": 8, "temperature": 0})
    spam = predictor.parse({"prompt": "You won a prize", "task_name": SPAM})
    text, label = predictor.run([work for work in predictor.prepare([item, spam]) if isinstance(work, Work)])
    assert isinstance(text, Completion)
    assert isinstance(label, Completion)
    assert (text.prompt_tokens, text.completion_tokens, text.truncated) == (8, 8, True)
    assert (label.finish_reason, label.truncated) == ("label", False)


def test_a_model_beyond_the_memory_is_refused(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path, state_dict(layers=1, context=1024), GENERATE)
    tight = settings(tmp_path, memory_mib=64, max_context=1024, max_batch_items=64, max_new_tokens=64)
    needed = Loader(tight).bytes_needed(artifact)
    # Weights, keys and values in fp16 of 64 slots of 1024 tokens and one more, and kernels.
    assert needed == artifact.size + 2 * 2 * (64 + 1) * 1024 * 64 + (64 + (128 + 64) // 8) * KERNELS
    with pytest.raises(
        LoadError, match=rf"needs {needed >> 20} MiB with its cache; QUINTET_MEMORY_MIB is 64"
    ):
        Gpt2(tight).load(lambda _: None)


SLOTS, CONTEXT = 8, 512


def growth(folder: Path) -> tuple[int, int]:
    """Bytes by which this process grows, files it reads left out: loaded and warm, and when all was met."""

    def used() -> int:
        (line,) = re.findall(r"^Anonymous: +(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.M)
        return int(line) << 10

    before = used()
    session = Session(Artifact(folder), threads=2, slots=SLOTS, context=CONTEXT)
    session.warm_up()
    warm = used() - before
    run_everything(session)
    return warm, used() - before


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [{"layers": 2, "hidden": 64}, {"layers": 12, "hidden": 768}])
def test_a_process_grows_by_no_more_than_the_budget_counts(tmp_path: Path, sizes: dict[str, int]) -> None:
    artifact = write_artifact(tmp_path, state_dict(context=CONTEXT, **sizes))  # pyright: ignore[reportArgumentType]
    counted = Loader(settings(tmp_path, max_context=CONTEXT, max_batch_items=SLOTS)).bytes_needed(artifact)
    with multiprocessing.get_context("spawn").Pool(1) as process:
        warm, full = process.apply(growth, (artifact.folder,))
    assert full <= counted
    cache = 4 * sizes["layers"] * (SLOTS + 1) * CONTEXT * sizes["hidden"]
    assert warm <= counted - 0.8 * cache, "what no sequence needs costs no memory"


def test_the_same_tokenizer_is_kept_once(tmp_path: Path) -> None:
    for name in ("got", GENERATE):
        write_artifact(tmp_path, state_dict(layers=1), name)
    loader = Loader(settings(tmp_path))
    models = [loader.load(name, loader.artifact(Source(name, tmp_path / name))) for name in ("got", GENERATE)]
    assert models[0].tokenizer is models[1].tokenizer
