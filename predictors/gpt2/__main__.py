import sys

from predictors.gpt2.predictor import Gpt2
from predictors.gpt2.settings import Gpt2Settings
from predictors.runtime.main import main

if __name__ == "__main__":
    if sys.argv[1:2] == ["convert"]:
        # Only now: serving does without what converting reads.
        from predictors.gpt2.convert.command import main as convert

        sys.exit(convert(sys.argv[2:]))
    main(Gpt2Settings, Gpt2)
