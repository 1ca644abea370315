#!/usr/bin/env bash
# Makes findings.pdf: every figure and table by the commands plot, export and compare, the pages by pdflatex.
# Run from the root of the repository; PYTHON names another interpreter.
set -eu
results=leaderboards/results
here=docs/findings_pdf
build=${BUILD:-$(mktemp -d)}
[ -n "${BUILD:-}" ] || trap 'rm -rf "$build"' EXIT
harness() { ${PYTHON:-python} -m vtprune_eval "$@"; }
run_of() { # METHOD: the committed run of most budgets with it
  ${PYTHON:-python} - "$results" "$1" << 'END'
import json, pathlib, sys
runs = [json.loads(p.read_text()) for p in sorted(pathlib.Path(sys.argv[1]).glob("*.json"))]
able = [r for r in runs if sys.argv[2] in r["settings"]["methods"]]
print(max(able, key=lambda r: len(r["settings"]["budgets"]))["name"])
END
}
before=$(run_of pixelprune) behind=$(run_of focusui) layers=$(run_of fastv) cache=$(run_of snapkv)
# Stage, its run, the methods that are shown.
stages=(
  "before $before pixelprune,conncomp,stride,random,resize,tome"
  "behind $behind focusui,divprune,cdpruner,scope,visionzip,random-tokens,no-image"
  "layers $layers sparsevlm,dart,showui,fastv,pyramiddrop,random-layer"
  "cache $cache vlcache,kvzip,snapkv,guikv,h2o,knorm,random-kv"
)
for stage in "${stages[@]}"; do
  read -r name run methods <<< "$stage"
  harness plot "$results/$run.json" --methods "$methods" --x achieved --font serif --font-size 8 --height 2.1 --out "$build/$name.pdf"
  budget=20; [ "$name" = layers ] && budget=50
  harness export "$results/$run.json" --latex --methods "$methods" --budgets "$budget" --columns achieved,change,flops,kv --out "$build/$name.tex"
done
pairs() { # NAME RUN A B [A B ...]
  local name=$1 run=$2 options=(); shift 2
  while [ $# -gt 0 ]; do options+=(--a "$1" --b "$2"); shift 2; done
  harness compare "$results/$run.json" "$results/$run.json" --format latex "${options[@]}" > "$build/pairs_$name.tex"
}
pairs before "$before" pixelprune@40 random@40 pixelprune@40 resize@40
pairs behind "$behind" focusui@20 random-tokens@20 divprune@40 random-tokens@40
pairs layers "$layers" sparsevlm@50 dart@50 fastv@50 random-layer@50
pairs cache "$cache" guikv@10 snapkv@10 snapkv@10 random-kv@10

cp "$here/findings.tex" "$build"
(cd "$build" && SOURCE_DATE_EPOCH=0 pdflatex -interaction=nonstopmode -halt-on-error findings.tex > log.txt) ||
  { tail -20 "$build/log.txt"; exit 1; }
cp "$build/findings.pdf" "$here/findings.pdf"
