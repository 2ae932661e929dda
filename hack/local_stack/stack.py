"""Brings everything up, waits, says how to use it, and takes all of it down in order, whatever happens."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gateway.config import Config
from gateway.loading import known_scopes
from hack import environments
from hack.local_stack import files, hints, plan, ports
from hack.local_stack.child import Child, Command, how_it_ended, last_error, last_lines
from hack.local_stack.companions import KAFKA, Companion, companions
from hack.local_stack.errors import StackError
from hack.local_stack.progress import Progress, doing

GATEWAY = "gateway"
TOKEN_LIFETIME = "12h"
POLL_SECONDS = 0.1
STARTING_SECONDS = 900.0
NOT_LOADED = 3
"""The exit code by which a predictor says that its checkpoint cannot be served."""


@dataclass
class Stack:
    root: Path
    environ: Mapping[str, str]
    progress: Progress
    children: list[Child] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Someone asked us to stop."""
    at_once: asyncio.Event = field(default_factory=asyncio.Event)
    """Someone asked twice."""

    async def run(self, wanted: Iterable[str]) -> None:
        """Returns when it was told to stop; raises StackError when something of ours ended by itself."""
        self._listen_to_signals()
        folder = files.LocalFolder(self.root)
        folder.create()
        with folder.owned():
            work = asyncio.create_task(self._up_and_watch(list(wanted), folder))
            stop = asyncio.create_task(self.stopping.wait())
            try:
                await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stop.cancel()
                work.cancel()
                failure = (await asyncio.gather(work, return_exceptions=True))[0]
                self.progress.finish()
                await self._down()
            if isinstance(failure, Exception) and not self.stopping.is_set():
                raise failure

    def _listen_to_signals(self) -> None:
        def told() -> None:
            if self.stopping.is_set():
                self.at_once.set()
            self.stopping.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, told)

    # --- up ---

    async def _up_and_watch(self, wanted: list[str], folder: files.LocalFolder) -> None:
        began = time.monotonic()
        source = self.root / "gateway" / "local.yaml"
        raw = files.read_config(source)
        known = list(raw["models"])
        models = plan.choose(wanted, known)
        config = files.write_config(raw, models, source.parent, folder).config
        predictors = plan.predictors(config, known, self.environ, self.root)
        beside = {one.model: companions(one.model, self.environ, folder.path) for one in predictors}
        processes = [process for one in beside.values() for process in one.processes]
        ports.check_free(
            [port for one in predictors for port in one.ports]
            + [port for one in beside.values() for port in one.ports]
            + plan.gateway_ports(config)
        )
        examples = {model: hints.examples(self.root / "predictors" / model) for model in models}

        checkpoints = {
            one.model: one.model_dir or await self._demo(one.model, folder)
            for one in predictors
            if not one.registered
        }
        pythons = {one.model: await self._python(one.model, folder) for one in predictors}
        self.progress.say(f"Starting {', '.join(models)} and the gateway")
        exits = [
            self._watched(
                self._start_predictor(
                    one,
                    pythons[one.model],
                    checkpoints.get(one.model),
                    folder,
                    beside[one.model].settings,
                ),
                checkpoints.get(one.model),
            )
            for one in predictors
        ]
        exits += [
            self._watched(self._start(one.name, list(one.arguments), folder, one.settings))
            for one in processes
        ]
        address = f"http://{_in_url(config.listen.address)}:{config.listen.port}"
        exits.append(self._watched(self._start_gateway(folder)))
        up = asyncio.create_task(self._until_ready(predictors, processes, address, config, folder))
        try:
            await asyncio.wait({up, *exits}, return_when=asyncio.FIRST_COMPLETED)
            for ended in exits:
                if ended.done():
                    ended.result()
            token = up.result()
            files.write_private(folder.token, token + "\n")
            self.progress.say(f"Ready after {time.monotonic() - began:.1f} s. Ctrl-C stops everything.")
            print("\n" + hints.hints(address, token, folder.token, examples) + "\n", flush=True)
            await asyncio.wait(exits, return_when=asyncio.FIRST_COMPLETED)
            for ended in exits:
                if ended.done():
                    ended.result()
        finally:
            for task in (up, *exits):
                task.cancel()
            await asyncio.gather(up, *exits, return_exceptions=True)

    async def _demo(self, model: str, folder: files.LocalFolder) -> Path:
        """The demo checkpoint's folder."""
        return await self._made(model, "demo", "demo_models", "a demo checkpoint", folder)

    async def _python(self, model: str, folder: files.LocalFolder) -> Path:
        """The interpreter that serves the model."""
        if not environments.needs_own(model, self.root):
            return Path(sys.executable)
        return await self._made(model, "environment", "environments", "an environment", folder)

    async def _made(self, model: str, kind: str, maker: str, what: str, folder: files.LocalFolder) -> Path:
        """What ``hack.<maker>`` prints, made in a process of its own, which Ctrl-C ends like the others."""
        name = f"{kind}-{model}"
        usual = folder.timings().get(name)
        began = time.monotonic()
        # SIGINT, so that Python unwinds and takes its half-made files away.
        child = self._start(
            name, ["-m", f"hack.{maker}", model], folder, capture=True, stop_signal=signal.SIGINT
        )
        while (code := await child.exited(within=1.0)) is None:
            step = (last_lines(child.command.log, 1) or [f"making {what} (once)"])[0]
            self.progress.update(model, step.removeprefix(f"{model} "), time.monotonic() - began, usual)
        self.progress.forget(model)
        self.children.remove(child)
        output = (await child.output()).strip()
        if code:
            raise StackError(
                f"{model}'s {what.split(' ', 1)[1]} was not made: {how_it_ended(code)}", log=child.command.log
            )
        if (seconds := time.monotonic() - began) > 5:  # made now, not found
            folder.keep_timings({name: seconds})
        return Path(output.splitlines()[-1])

    def _start_predictor(
        self,
        one: plan.PredictorPlan,
        python: Path,
        checkpoint: Path | None,
        folder: files.LocalFolder,
        beside: Mapping[str, str],
    ) -> Child:
        state = {"XDG_STATE_HOME": str(folder.path / "state")}  # this clone's own
        weights = {f"{plan.PREFIX}MODEL_DIR": str(checkpoint)} if checkpoint else {}
        settings = {**beside, **one.settings, **state, **weights}
        return self._start(
            one.model,
            ["-m", f"predictors.{one.model}"],
            folder,
            settings,
            python=python,
            grace=one.grace + 2,
        )

    def _start_gateway(self, folder: files.LocalFolder) -> Child:
        return self._start(GATEWAY, ["-m", "gateway", "serve", "--config", str(folder.config)], folder)

    def _start(
        self,
        name: str,
        arguments: list[str],
        folder: files.LocalFolder,
        settings: Mapping[str, str] | None = None,
        *,
        python: Path | None = None,
        capture: bool = False,
        grace: float = 10.0,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> Child:
        environ = {**plan.without_settings(self.environ), **(settings or {}), "PYTHONUNBUFFERED": "1"}
        if settings is None:  # not a predictor: the variables that are for make and hack/
            environ |= {key: value for key, value in self.environ.items() if key in plan.OURS}
        child = Child(
            Command(
                name,
                [str(python or sys.executable), *arguments],
                environ,
                self.root,
                folder.log(name),
                grace=grace,
                stop_signal=stop_signal,
                capture=capture,
            )
        )
        self.children.append(child)
        return child

    def _watched(self, child: Child, checkpoint: Path | None = None) -> asyncio.Task[None]:
        async def watch() -> None:
            code = await child.exited()
            assert code is not None
            log = child.command.log
            what = f"{child.name} {how_it_ended(code)}"
            if code == NOT_LOADED and checkpoint is not None:
                what = f"{child.name} could not load the checkpoint in {checkpoint}"
            # What its log says before the reason is said here with the folder.
            reason = (last_error(log) or "").removeprefix("The model was not loaded: ")
            raise StackError(f"{what}: {reason}" if reason else what, log=log)

        return asyncio.create_task(watch())

    async def _until_ready(
        self,
        predictors: list[plan.PredictorPlan],
        processes: list[Companion],
        address: str,
        config: Config,
        folder: files.LocalFolder,
    ) -> str:
        """Waits for all of them, then returns a token for what is running."""
        usual = folder.timings()
        took: dict[str, float] = {}
        began = time.monotonic()

        async def wait(name: str, ready: str, details: str | None) -> None:
            heard = False
            while await _status(client, ready) != 200:
                said = await _json(client, details) if details else {"state": "starting"}
                if said or not heard:  # silence after an answer is a process that is about to be missed
                    self.progress.update(name, doing(said), time.monotonic() - began, usual.get(name))
                heard = heard or said is not None
                await asyncio.sleep(POLL_SECONDS)
            took[name] = time.monotonic() - began
            self.progress.done(name, took[name])

        token = asyncio.create_task(self._token(config, folder))
        bases = {one.model: f"http://{_in_url(one.host)}:{one.http_port}" for one in predictors}
        try:
            async with (
                asyncio.timeout(STARTING_SECONDS),
                httpx.AsyncClient(trust_env=False, timeout=5) as client,
            ):
                await asyncio.gather(
                    *(
                        wait(model, f"{base}/v2/health/ready", f"{base}/health/detailed")
                        for model, base in bases.items()
                    ),
                    *(wait(one.name, one.ready, None) for one in processes if one.ready),
                )
                # Its /health speaks for the predictors too, so it comes last.
                await wait(GATEWAY, f"{address}/health", None)
            folder.keep_timings(took)
            return await token
        except TimeoutError:
            late = ", ".join(name for name in (*bases, GATEWAY) if name not in took)
            raise StackError(f"not ready after {STARTING_SECONDS:.0f} s: {late}") from None
        finally:
            token.cancel()

    async def _token(self, config: Config, folder: files.LocalFolder) -> str:
        """For all that one can call here, but not for other people's jobs."""
        scopes = [s for s in known_scopes(config) if s == "infer:*" or not s.startswith(("infer:", "jobs:"))]
        arguments = ["-m", "gateway", "token", "--config", str(folder.config), "--expires-in", TOKEN_LIFETIME]
        child = self._start("token", [*arguments, "--scope", " ".join(scopes)], folder, capture=True)
        code, output = await child.exited(), await child.output()
        self.children.remove(child)
        if code:
            raise StackError(f"no token was made: the gateway {how_it_ended(code)}", log=child.command.log)
        return output.strip().splitlines()[-1]

    # --- down ---

    async def _down(self) -> None:
        """The gateway first, so that nobody is sent to a predictor that is going."""
        gateway = [child for child in self.children if child.name == GATEWAY]
        kafka = [child for child in self.children if child.name == KAFKA]  # who uses it ends before it
        others = [child for child in self.children if child.name not in (GATEWAY, KAFKA)]
        if running := [child.name for child in gateway + others + kafka if child.running]:
            self.progress.say(f"Stopping {', '.join(running)}")
        for group in (gateway, others, kafka):
            await asyncio.gather(*(child.stop(at_once=self.at_once) for child in group))


async def _status(client: httpx.AsyncClient, url: str) -> int | None:
    try:
        return (await client.get(url)).status_code
    except httpx.TransportError:
        return None


async def _json(client: httpx.AsyncClient, url: str) -> dict[str, Any] | None:
    try:
        said = (await client.get(url)).json()
    except (httpx.TransportError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def _in_url(host: str) -> str:
    """Where to call something that listens on ``host``."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host
