from predictors.multitask_nlp.predictor import MultitaskNlp
from predictors.multitask_nlp.settings import MultitaskSettings
from predictors.runtime.main import main

if __name__ == "__main__":
    main(MultitaskSettings, MultitaskNlp)
