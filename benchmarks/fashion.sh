#!/usr/bin/env bash
# The whole way from a catalog to a scored encoder, timed: import, train, evaluate, and how well the filter finds the
# wrong purchases. FASHION is the folder of the fashion search log (benchmarks/fashion_log.py says what is in it). OUT
# takes about 200 MB and gets fashion.json, which has all figures.
#
#     FASHION=../shared/data/fashion OUT=runs/fashion bash benchmarks/fashion.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fashion=${FASHION:?the folder with products.parquet and train_log.parquet}
out=${OUT:-runs/fashion}
mkdir -p "$out"
started=$SECONDS
.venv/bin/python benchmarks/fashion_log.py "$fashion" --out "$out/data" --overwrite
imported=$SECONDS
.venv/bin/moon2 train --config "${CONFIG:-recipes/tiny.yaml}" --data "$out/data" --out "$out/run"
trained=$SECONDS
.venv/bin/moon2 evaluate "$out/run" --data "$out/data"
evaluated=$SECONDS
echo "import $((imported - started)) s, train $((trained - imported)) s, evaluate $((evaluated - trained)) s," \
  "together $(((evaluated - started) / 60)) min $(((evaluated - started) % 60)) s on $(nproc) cores"
.venv/bin/python benchmarks/filter_auroc.py "$out/run" --data "$out/data" --noise "$fashion/train_log_noise.parquet"
.venv/bin/python benchmarks/fashion_results.py "$out" --seconds $((imported - started)) $((trained - imported)) $((evaluated - trained))
