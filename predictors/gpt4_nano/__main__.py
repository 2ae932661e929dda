from predictors.gpt4_nano.predictor import Gpt4Nano
from predictors.gpt4_nano.settings import Gpt4NanoSettings
from predictors.runtime.main import main

if __name__ == "__main__":
    main(Gpt4NanoSettings, Gpt4Nano)
