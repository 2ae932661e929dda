"""What the values may not say together is refused with a sentence; each guard has its case."""

from __future__ import annotations

import re
from functools import cache

import pytest

from hack.helm import HelmFailed
from tests.support.charts import CHART, ROOT, kind, render

NO_WEIGHTS = "models.gpt2.weights.included=true,models.multitask_nlp.weights.included=true"
ISSUER = "gateway.issuers[0].name=a,gateway.issuers[0].issuer=b,gateway.issuers[0].audiences[0]=c"

# ruff: noqa: E501
GUARDS = [
    ("values of an earlier chart", "networkPolicy.apiServer=null", "upgrade with --reset-then-reuse-values"),
    ("no model", "models.prompt_classifier.enabled=false,models.text_evaluator.enabled=false,models.gpt4_nano.enabled=false,models.multitask_nlp.enabled=false,models.gpt2.enabled=false", "none is enabled"),
    ("unknown profile", "profile=prod", '"prod" is not in profiles; there are cpu, demo, gpu'),
    ("profile of no model", "profiles.cpu.gpt3.enabled=true", "profiles.cpu.gpt3: there is no such model"),
    ("unknown accelerator", "models.gpt2.accelerator=h100", '"h100" is not in accelerators; there are l40, none, t4'),
    ("demo on a GPU", "models.gpt2.accelerator=t4", "demo checkpoints are for CPUs"),
    ("no weights", "profile=cpu,models.multitask_nlp.weights.included=true", "models.gpt2.weights: give uri"),
    ("weights twice", f"profile=cpu,{NO_WEIGHTS},models.gpt2.weights.uri=pvc://a", "uri and included contradict"),
    ("min over max", "models.gpt2.autoscaling.min=9", "min 9 is more than max"),
    ("nothing to scale by", "models.gpt2.autoscaling.cpu=0", "hpa needs cpu or queue"),
    ("lag without a consumer", "models.gpt2.autoscaling.lag=5,models.gpt2.autoscaling.kind=keda", "needs keda, kafka.brokers and a consumer"),
    ("replicas without a store", "models.text_evaluator.autoscaling.max=2", "2 replicas need a store that they share"),
    ("a claim without a file", "models.gpt2.storeClaim=jobs", "models.gpt2.storeClaim: is for the file of one replica"),
    ("a claim beside a store", "models.text_evaluator.storeClaim=jobs,store.secret=valkey", "without store.secret, and with"),
    ("given up too soon", "models.gpt2.autoscaling.scaleDownSeconds=60", "60 is less than startupSeconds, 120"),
    ("keda without prometheus", "models.gpt2.autoscaling.kind=keda,models.gpt2.autoscaling.queue=5", "needed in keda.prometheus"),
    ("a setting of the chart's", "models.gpt2.settings.grace_period=5", "the chart sets it"),
    ("gateway min over max", "gateway.autoscaling.min=9", "min 9 is more than max 6"),
    ("ingress without host", "gateway.ingress.enabled=true", "an ingress needs a host"),
    ("route without Gateway", "gateway.httpRoute.enabled=true", "a route needs a Gateway"),
    ("gateway without keys", f"{ISSUER},gateway.issuers[0].keys.refresh=5m", "without keys no token could be checked"),
    ("keys twice", f"{ISSUER},gateway.issuers[0].keys.jwksUrl=https://a,gateway.issuers[0].keys.jwksSecret.name=a,gateway.issuers[0].keys.jwksSecret.key=b", "give exactly one of"),
    ("training for nothing", "training.enabled=true", "or what is trained ends with its pod"),
    ("data from nowhere", "training.options.qa_data=/data/qa", "is on the volume of training.data.claim"),
    ("development in production", f"profile=cpu,{NO_WEIGHTS},development=true", "development: is for the profile demo"),
]  # fmt: skip


SECOND = ISSUER.replace("[0].", "[1].", 3).replace("audiences[1]", "audiences[0]")
TWICE = (
    f"{ISSUER},{SECOND},gateway.issuers[0].keys.jwksUrl=https://a,gateway.issuers[1].keys.jwksUrl=https://a"
)
ASKS_CLUSTER = ("no KServe", "there is no Secret", "has no key", "shorter than 32 bytes")


@cache
def refusal(flags: str, name: str = "quintet") -> str:
    with pytest.raises(HelmFailed) as refused:
        render("--set", flags, name=name)
    return str(refused.value)


def guards() -> dict[str, re.Pattern[str]]:
    """The sentences of requirements.yaml, each with what it may come to."""
    text = (CHART / "templates" / "requirements.yaml").read_text()
    said = re.findall(r"""fail \(?(?:printf )?"((?:[^"\\]|\\.)*)\"""", text)
    assert len(said) == text.count("fail ")
    return {one: re.compile(re.sub(r"%[sqd]", ".+", re.escape(one))) for one in said}


@pytest.mark.parametrize(("flags", "sentence"), [g[1:] for g in GUARDS], ids=[g[0] for g in GUARDS])
def test_a_contradiction_is_refused(flags: str, sentence: str) -> None:
    assert sentence in refusal(flags)


def test_two_issuers_of_one_name_are_refused() -> None:
    assert "a is there twice" in refusal(TWICE)


def test_a_long_release_name_is_refused_before_kubernetes_does() -> None:
    assert "too long a name" in refusal("profile=demo", name="a" * 40)


def test_every_guard_that_needs_no_cluster_has_a_case() -> None:
    """Those that ask the cluster (KServe, Secrets) are tried in tests/cluster."""
    refusals = [
        *(refusal(flags) for _, flags, _ in GUARDS),
        refusal(TWICE),
        refusal("profile=demo", name="a" * 40),
    ]
    tried = {one for one, pattern in guards().items() if any(pattern.search(said) for said in refusals)}
    assert {one for one in guards() if not any(part in one for part in ASKS_CLUSTER)} == tried


def test_two_releases_share_no_name() -> None:
    ours, theirs = ({(o["kind"], o["metadata"]["name"]) for o in render(name=n)} for n in ("quintet", "blue"))
    assert not ours & theirs


def test_a_release_called_like_the_chart_has_the_models_own_names() -> None:
    names = {path.parent.name.replace("_", "-") for path in (ROOT / "predictors").glob("*/__main__.py")}
    assert set(kind(render(), "InferenceService")) == names
