#!/bin/sh
# From a bare Debian with python3 to `.venv` in step with requirements/dev.txt. Every make target that needs Python
# runs this first: when nothing has changed it compares one hash and ends. It is plain sh and not Python because
# there may be no usable Python yet.
set -eu
cd "$(dirname "$0")/.."

trap 'exit 130' INT TERM HUP # a shell that is ended by a signal would not clean up

say() { printf '%s\n' "$*" >&2; }
fail() { say "setup: $*"; exit 1; }

want=$(cat requirements/dev.txt hack/triton.txt 2>/dev/null | sha256sum)
stamp=.venv/.quintet-lock # written last, so a set-up that failed leaves none
in_step() { [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; }
in_step && exit 0

# Two makes in two terminals: the second waits here and then finds the work done.
if command -v flock >/dev/null; then
  exec 9<requirements/dev.txt
  flock 9
  in_step && exit 0
fi

fits() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; }
python=
for candidate in ${PYTHON:-python3 python3.11 python3.12}; do
  if fits "$candidate"; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || fail "Python 3.11 or 3.12 is needed and ${PYTHON:-python3} is" \
  "$("${PYTHON:-python3}" --version 2>&1 || true); name another with PYTHON=/path/to/python3.11 make setup"

# Where the system keeps a bundle of certificates it may hold a company's own root, which uv and pip would not know.
bundle=/etc/ssl/certs/ca-certificates.crt
if [ -r "$bundle" ]; then
  export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" PIP_CERT="${PIP_CERT:-$bundle}"
fi
export UV_PYTHON_DOWNLOADS=never PIP_DISABLE_PIP_VERSION_CHECK=1

apt_install() {
  say "setup: installing $* from Debian"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 ||
    { apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
}

# uv in a folder of its own, named for what it was installed from; it appears there complete or not at all.
tools=${QUINTET_CACHE:-$HOME/.cache/quintet}/uv-$(sha256sum <requirements/uv.txt | cut -c1-12)
uv=$tools/bin/uv
if ! [ -x "$uv" ]; then
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      apt_install python3-venv
    fi
    "$python" -c 'import ensurepip' 2>/dev/null ||
      fail "$python has no ensurepip; install it with: sudo apt-get install -y python3-venv"
  fi
  say "setup: installing uv into $tools"
  part=$tools.part.$$
  trap 'rm -rf "$part"' EXIT
  mkdir -p "$(dirname "$tools")"
  "$python" -m venv "$part"
  "$part/bin/python" -m pip install -q --no-deps --require-hashes -r requirements/uv.txt
  rm -rf "$tools"
  mv "$part" "$tools"
  trap - EXIT
fi

if ! fits .venv/bin/python; then
  "$uv" venv -q --clear --python "$python" .venv
fi
say "setup: bringing .venv in step with requirements/dev.txt (about half a minute the first time)"
rm -f "$stamp"
"$uv" pip sync -q --require-hashes --python .venv/bin/python requirements/dev.txt
# Without it everything but gpt4_nano runs.
if [ -f hack/triton.py ]; then
  code=0
  .venv/bin/python -m hack.triton || code=$?
  if [ "$code" = 3 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt_install "libpython$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" || :
    .venv/bin/python -m hack.triton || :
  fi
fi
printf '%s\n' "$want" >"$stamp"
