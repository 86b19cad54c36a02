#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A step of a pipeline, with curl and jq:  [H5PT_URL=http://localhost:8080] [H5PT_KEY=h5pt_…] examples/convert.sh MODEL DIR
# Writes model.pt, model.py and report.json into DIR. Ends with 0 when the model was converted and computes the same as in Keras, else with
# 1 and the reasons. When the connection fails it tries again, and the idempotency key sees to it that nothing is converted twice.
set -euo pipefail
model=${1:?usage: convert.sh MODEL DIR} out=${2:?usage: convert.sh MODEL DIR}
url=${H5PT_URL:-http://localhost:8080}
ask=(curl --silent --show-error --retry 5 --retry-connrefused)
[[ -z ${H5PT_KEY-} ]] || ask+=(--header "Authorization: Bearer $H5PT_KEY")

# Upload. The service checks the digest, so that a file that was damaged on the way is not converted.
digest=$(openssl dgst -sha256 -binary "$model" | base64)
job=$("${ask[@]}" --data-binary "@$model" --header "Content-Digest: sha-256=:$digest:" --header "Idempotency-Key: $(openssl rand -hex 16)" "$url/v1/conversions")
if ! href=/v1/conversions/$(jq --exit-status --raw-output .id <<< "$job"); then
    jq --raw-output '"\(.code): \(.detail)"' <<< "$job" >&2
    exit 1
fi

# Wait; each request returns when the conversion has finished, or after a minute.
while [[ $(jq --raw-output .state <<< "$job") == @(queued|running) ]]; do
    job=$("${ask[@]}" --header "Prefer: wait=60" "$url$href")
done

# Fetch what there is: of a conversion that was refused, the report.
mkdir -p "$out"
while IFS=$'\t' read -r name sha256 artifact; do
    "${ask[@]}" --fail --output "$out/$name" "$url$artifact"
    sha256sum --check --quiet <<< "$sha256  $out/$name"
done < <(jq --raw-output '.artifacts[] | [.name, .sha256, .href] | @tsv' <<< "$job")

jq --raw-output '"\(.model.sha256) \(.verdict // .state), largest difference from Keras: \(.parity.max_abs)"' <<< "$job"
jq --raw-output '.error // empty | (.refusals // [.])[] | "\(.code) \(.layer // ""): \(.message // .detail)"' <<< "$job" >&2
jq --exit-status '.verdict == "converted"' <<< "$job" > /dev/null
