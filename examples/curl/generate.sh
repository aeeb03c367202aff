#!/bin/sh
# A picture by curl alone: sh examples/curl/generate.sh "a slice of pizza" picture.png
set -eu
prompt=$(printf '%s' "${1:-a slice of pizza}" | sed -e 's/[\\"]/\\&/g')
file=${2:-picture.png}
server=${3:-http://127.0.0.1:8080}
answer=$(curl --silent --show-error --fail-with-body "$server/v1/images/generations" \
  --header 'content-type: application/json' \
  --data "{\"prompt\": \"$prompt\", \"seed\": 7, \"size\": \"256x256\"}") || {
  echo "$answer" >&2
  exit 1
}
printf '%s' "$answer" | sed -e 's/.*"b64_json":"\([^"]*\)".*/\1/' | base64 --decode > "$file"
echo "$file"
