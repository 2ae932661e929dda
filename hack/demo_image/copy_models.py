"""The init container: copies one model's checkpoint into the volume that its predictor reads."""

import pathlib
import shutil
import sys

model, target = sys.argv[1], pathlib.Path(sys.argv[2])
source = pathlib.Path("/models", model)
if not source.is_dir():
    known = ", ".join(sorted(path.name for path in pathlib.Path("/models").iterdir()))
    sys.exit(f"There is no demo checkpoint for {model} in this image; there is one for: {known}.")
files = [path for path in source.rglob("*") if path.is_file()]
# Contents alone: the volume's folder is another user's, whose times and rights are not ours to set.
for file in files:
    copy = target / file.relative_to(source)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, copy)
print(f"{model}: {len(files)} files")
