"""The init container: copies one model's checkpoint into the volume that its predictor reads."""

import pathlib
import shutil
import sys

model, target = sys.argv[1:]
source = pathlib.Path("/models", model)
if not source.is_dir():
    known = ", ".join(sorted(path.name for path in pathlib.Path("/models").iterdir()))
    sys.exit(f"There is no demo checkpoint for {model} in this image; there is one for: {known}.")
shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
print(f"{model}: {sum(1 for path in pathlib.Path(target).rglob('*') if path.is_file())} files")
