"""What `helm test` runs, in the gateway's image: a good token is answered, none or a foreign one refused."""

import json
import os
import pathlib
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

address, models = os.environ["ADDRESS"], os.environ["MODELS"].split()
tokens = pathlib.Path("/tokens")
# The certificate is for callers from outside; here only the gateway's behaviour is asked.
unverified = ssl.create_default_context()
unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE


def token(name, scope):
    if tokens.is_dir():
        return (tokens / name).read_text().strip()
    command = [
        sys.executable,
        "-m",
        "gateway",
        "token",
        "--config",
        "/etc/quintet/gateway.yaml",
        "--scope",
        scope,
    ]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def status(path, bearer=None):
    headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address + path, headers=headers), timeout=30, context=unverified
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


good, foreign = token("token", "infer:*"), token("foreign", "infer:nothing")
failed = False
# The gateway finds replicas by DNS, whose old answers live for half a minute.
patience = time.monotonic() + 60
for model in models:
    for what, bearer, wanted in (
        ("a good token", good, 200),
        ("no token", None, 401),
        ("a foreign scope", foreign, 403),
    ):
        found = status(f"/v2/models/{model}/ready", bearer)
        while found == 503 and time.monotonic() < patience:
            time.sleep(2)
            found = status(f"/v2/models/{model}/ready", bearer)
        failed |= found != wanted
        print(json.dumps({"model": model, "with": what, "status": found, "wanted": wanted}), flush=True)
sys.exit(failed)
