#!/usr/bin/env bash
# Makes findings.pdf: every figure and table by the commands plot, export and compare, the pages by pdflatex.
# Run from the root of the repository; PYTHON names another interpreter.
set -eu
run=leaderboards/results/nano-c3b21288a1b6.json
here=docs/findings_pdf
build=${BUILD:-$(mktemp -d)}
[ -n "${BUILD:-}" ] || trap 'rm -rf "$build"' EXIT
harness() { ${PYTHON:-python} -m vtprune_eval "$@"; }
figure() { harness plot "$run" --font serif --font-size 8 "$@"; }

figure --tasks all,mean --columns 2 --height 1.75 --out "$build/curves.pdf"
figure --y retention --x tokens --height 1.9 --out "$build/retention.pdf"
figure --y recall --x tokens --tasks mini-grounding --height 1.9 --out "$build/recall.pdf"
figure --kind stages --budgets 20 --out "$build/stages.pdf"
harness export "$run" --latex --budgets 20,40,80 --columns achieved,change,flops,kv --out "$build/rows.tex"
harness compare "$run" "$run" --format latex \
  --a pixelprune@40 --b random@40 --a pixelprune@40 --b conncomp@40 --a pixelprune@40 --b stride@40 \
  --a pixelprune@40 --b resize@40 --a pixelprune@40 --b tome@40 > "$build/pairs.tex"

cp "$here/findings.tex" "$build"
(cd "$build" && SOURCE_DATE_EPOCH=0 pdflatex -interaction=nonstopmode -halt-on-error findings.tex > log.txt) ||
  { tail -20 "$build/log.txt"; exit 1; }
cp "$build/findings.pdf" "$here/findings.pdf"
