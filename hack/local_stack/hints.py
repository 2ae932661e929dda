"""The lines to paste, made from each model's own examples.json."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from hack.local_stack.errors import StackError

KINDS = ("domain", "v1", "v2")


def examples(folder: Path) -> dict[str, dict[str, Any]]:
    """``{"domain": {"path", "body"}, "v1": ..., "v2": ...}``; v1 and v2 need no path."""
    file = folder / "examples.json"
    paths = {"v1": f"/v1/models/{folder.name}:predict", "v2": f"/v2/models/{folder.name}/infer"}
    try:
        given = json.loads(file.read_text("utf-8"))
        return {kind: {"path": paths.get(kind), **given[kind]} for kind in KINDS if kind in given}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise StackError(f"{file} is not a map of examples: {error}") from None


def curl(address: str, token_file: Path, path: str, body: object) -> str:
    """One line that works from any folder, as often as the token is valid."""
    authorization = f'"Authorization: Bearer $(cat {shlex.quote(str(token_file))})"'
    content = shlex.quote(json.dumps(body, ensure_ascii=False))
    return f"curl -sS {address}{path} -H {authorization} -H 'Content-Type: application/json' -d {content}"


def hints(address: str, token: str, token_file: Path, models: dict[str, dict[str, dict[str, Any]]]) -> str:
    lines = [f"The gateway listens on {address}", "", f"TOKEN={token}"]
    for model, given in models.items():
        lines += ["", f"# {model}"]
        lines += [curl(address, token_file, entry["path"], entry["body"]) for entry in given.values()]
    return "\n".join(lines)
