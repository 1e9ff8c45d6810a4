#!/usr/bin/env bash
# The whole loop on a laptop: from the text of Python's own library to a promoted model. `make run` sets up and calls this.
# Every line is a command a person can run; on AWS the same commands get s3:// URIs. Finished documents are kept, so running
# it again goes on where it stopped. WORK is the folder of everything it writes.
set -euo pipefail
cd "$(dirname "$0")"
WORK=${WORK:-build/loop}
export MLFLOW_TRACKING_URI=${MLFLOW_TRACKING_URI:-sqlite:///$WORK/mlflow.db}
export MLFLOW_EXPERIMENT_NAME=${MLFLOW_EXPERIMENT_NAME:-stdlib-assistant}
export LLMOPS_PIPELINE_RUN=${LLMOPS_PIPELINE_RUN:-loop} # MLflow shows the stages below one run of this name

step() { printf '\n$ %s\n' "$*" >&2; "$@" >/dev/null; }                            # the document on stdout is in its folder, too
expect() { local want=$1 code=0; shift; step "$@" || code=$?; [ "$code" = "$want" ]; } # a gate that must say no exits with 3
join() { local job; for job in $(jobs -p); do wait "$job"; done; }                     # commands that use one core run side by side
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

# raw text -> datasets: documents for pre-training, chats for tuning, and prompts of another kind to try the drift alarm on
step llmops-preprocess run --config services/preprocess/configs/stdlib-text.yaml out="$WORK/text"
step llmops-preprocess run --config services/preprocess/configs/stdlib-chat.yaml tokenizer="$WORK/text" out="$WORK/chat" &
step llmops-preprocess run --config services/preprocess/configs/stdlib-code-chat.yaml tokenizer="$WORK/text" out="$WORK/shifted" &
step llmops-preprocess index --config services/preprocess/configs/stdlib-index.yaml dataset="$WORK/text" out="$WORK/index" &
join

# datasets -> models, their scores on the held-out split, and packages a server loads
step llmops-train run --config services/train/configs/pretrain.yaml dataset="$WORK/text" out="$WORK/base"
step llmops-train run --config services/train/configs/lora.yaml dataset="$WORK/chat" model="$WORK/base" out="$WORK/tuned"
step llmops-train evaluate --config services/train/configs/evaluate.yaml run="$WORK/base" dataset="$WORK/chat" out="$WORK/evaluation-base" &
step llmops-train evaluate --config services/train/configs/evaluate.yaml run="$WORK/tuned" dataset="$WORK/chat" out="$WORK/evaluation-tuned" &
join
step llmops-train package run="$WORK/base" evaluation="$WORK/evaluation-base" registered_model=stdlib-assistant out="$WORK/package-base"
step llmops-train package run="$WORK/tuned" evaluation="$WORK/evaluation-tuned" registered_model=stdlib-assistant out="$WORK/package-tuned"

# packages -> an endpoint that answers with the base model and shadows the tuned one, under real traffic
step llmops-serve deploy name=stdlib-assistant package="$WORK/package-base" index="$WORK/index" capture="$WORK/exchanges" out="$WORK/endpoint-1"
step llmops-serve shadow endpoint="$WORK/endpoint-1" package="$WORK/package-tuned" out="$WORK/endpoint-2"
step llmops-serve replay --config services/serve/configs/replay.yaml endpoint="$WORK/endpoint-2" prompts.in_domain.dataset="$WORK/chat" prompts.in_domain_with_context.dataset="$WORK/chat" prompts.shifted.dataset="$WORK/shifted" out="$WORK/replay"

# exchanges -> verdicts -> the next endpoint
step llmops-monitor compare --config services/monitor/configs/compare.yaml endpoint="$WORK/endpoint-2" dataset="$WORK/chat" out="$WORK/shadow-report" &
step llmops-monitor drift --config services/monitor/configs/drift-in-domain.yaml endpoint="$WORK/endpoint-2" out="$WORK/drift-in-domain" &
expect 3 llmops-monitor drift --config services/monitor/configs/drift-shifted.yaml endpoint="$WORK/endpoint-2" out="$WORK/drift-shifted" &
join
step llmops-serve promote endpoint="$WORK/endpoint-2" report="$WORK/shadow-report" out="$WORK/endpoint-3"

llmops-show "$WORK/evaluation-base" "$WORK/evaluation-tuned" "$WORK/replay" "$WORK/shadow-report" "$WORK/drift-in-domain" "$WORK/drift-shifted" "$WORK/endpoint-3"
