"""``make chart``: renew all that is made from charts/quintet; ``--check`` only says what is out of step."""

from __future__ import annotations

import sys
from pathlib import Path

from hack.chart.documented import read
from hack.chart.manifests import manifests
from hack.chart.readme import readme
from hack.chart.schema import schema

ROOT = Path(__file__).resolve().parents[2]


def generated(root: Path = ROOT) -> dict[Path, str]:
    """Each file with what it should say. The schema first: helm checks values by it."""
    chart = root / "charts" / "quintet"
    fields = read((chart / "values.yaml").read_text())
    made = {chart / "values.schema.json": schema(fields)}
    made[chart / "README.md"] = readme((chart / "README.md").read_text(), fields)
    return made


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    stale = renew(generated(), check) + renew(
        {ROOT / "manifests" / name: text for name, text in manifests(ROOT).items()}, check
    )
    for file in stale:
        print(f"{file.relative_to(ROOT)}{' is out of step: run make chart' if check else ''}")
    return 1 if check and stale else 0


def renew(files: dict[Path, str], check: bool) -> list[Path]:
    """Those that differ from what they should say."""
    stale = [file for file, text in files.items() if not file.exists() or file.read_text() != text]
    if not check:
        for file in stale:
            file.parent.mkdir(exist_ok=True)
            file.write_text(files[file])
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
