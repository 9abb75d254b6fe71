#!/usr/bin/env bash
# Starts a server, makes the views of this folder and replays the log into them. On a terminal it draws the views until Ctrl-C;
# otherwise it ends when the log is through, and well only if every view equals the batch answer.
#
#   demo.sh [--rate RECORDS_PER_SECOND]     0 is as fast as it goes
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LOG=$HERE/data/apache_access_2015-05.log.gz
VIEWS=(hits_per_minute growing_paths top_talkers suspected_scanners)
FLEUVE=${FLEUVE_BIN:-$(command -v fleuve || true)}
[ -n "$FLEUVE" ] || { echo "error: there is no fleuve here: run ./dev demo, or name the binary with FLEUVE_BIN" >&2; exit 1; }

RATE=''
if [ "${1:-}" = --rate ]; then RATE=${2:?--rate wants a number}; fi
TERMINAL=false
if [ -t 0 ] && [ -t 1 ]; then TERMINAL=true; fi

# Nothing of the caller's settings: the demo is the same everywhere.
for name in $(compgen -v FLEUVE_ || true); do unset "$name"; done

if $TERMINAL; then DATA=$PWD/fleuve-demo-data; else DATA=$(mktemp -d)/data; fi
rm -rf "$DATA"
mkdir -p "$DATA"
SERVER='' PRODUCER=''

finish() {
  status=$?
  trap - EXIT INT TERM
  for pid in $PRODUCER $SERVER; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in $PRODUCER $SERVER; do wait "$pid" 2>/dev/null || true; done
  if $TERMINAL; then
    echo "Stopped. The data is in $DATA: fleuve serve --data $DATA goes on with it."
  else
    rm -rf "$(dirname "$DATA")"
  fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start KAFKA POSTGRES HTTP REGISTRY: true once it serves.
start() {
  "$FLEUVE" serve --data "$DATA" --kafka "$1" --postgres "$2" --http "$3" --registry "$4" >"$DATA/server.log" 2>&1 &
  SERVER=$!
  for _ in $(seq 600); do
    if [ -f "$DATA/doors.json" ] && FLEUVE_DATA=$DATA "$FLEUVE" status >/dev/null 2>&1; then return 0; fi
    if ! kill -0 "$SERVER" 2>/dev/null; then break; fi
    sleep 0.1
  done
  kill -TERM "$SERVER" 2>/dev/null || true
  SERVER=''
  return 1
}

any=127.0.0.1:0
if $TERMINAL; then
  # The usual places if they are free, else any.
  start 127.0.0.1:9092 127.0.0.1:5433 127.0.0.1:8080 127.0.0.1:8081 || start $any $any $any $any || { cat "$DATA/server.log" >&2; exit 1; }
else
  start $any $any $any $any || { cat "$DATA/server.log" >&2; exit 1; }
fi

door() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$DATA/doors.json"; }
KAFKA=$(door kafka) POSTGRES=$(door postgres) HTTP=$(door http)
export FLEUVE_SERVER=http://$HTTP FLEUVE_KAFKA=$KAFKA

NOTES=(
  "psql     psql -h ${POSTGRES%:*} -p ${POSTGRES##*:} -U fleuve main -c 'SELECT * FROM top_talkers ORDER BY hits DESC LIMIT 10'"
  "kafka    kcat -b $KAFKA -t access_log -o end      (or: fleuve consume access_log --follow --kafka $KAFKA)"
  "browser  http://$HTTP/"
)

echo "fleuve apply $HERE"
"$FLEUVE" apply "$HERE"
echo
printf '%s\n' "${NOTES[@]}"
echo "stop     Ctrl-C"
echo

if $TERMINAL; then
  "$FLEUVE" produce access_log --file "$LOG" --rate "${RATE:-120}" --quiet 2>>"$DATA/server.log" &
  PRODUCER=$!
  # Ctrl-C ends the drawing, which ends the demo.
  trap : INT
  "$FLEUVE" watch "${VIEWS[@]}" \
    --note "${NOTES[0]}" --note "${NOTES[1]}" --note "${NOTES[2]}" --limit 12 \
    --sort hits_per_minute.minute:desc \
    --sort growing_paths.minute:desc --sort growing_paths.growth:desc \
    --sort top_talkers.hits:desc \
    --sort suspected_scanners.since:desc --sort suspected_scanners.refused:desc
  exit 0
fi

# Without a terminal: the whole log, then the proof.
lines=$(gzip -dc "$LOG" | wc -l)
"$FLEUVE" produce access_log --file "$LOG" --rate "${RATE:-500}"
one() { "$FLEUVE" sql --format csv -c "$1" 2>/dev/null | tail -1; }
for _ in $(seq 300); do
  rows=$(one 'SELECT count(*) AS n FROM access_log') dead=$(one 'SELECT count(*) AS n FROM access_log__dead')
  [ "$((${rows:-0} + ${dead:-0}))" -ge "$lines" ] && break
  sleep 0.2
done
echo "$lines lines: ${rows:-0} rows, ${dead:-0} dead letters"
[ "$((${rows:-0} + ${dead:-0}))" -eq "$lines" ] || { echo "error: some lines are neither rows nor dead letters" >&2; exit 1; }
"$FLEUVE" sql -c 'SELECT * FROM hits_per_minute ORDER BY minute DESC LIMIT 3'
"$FLEUVE" sql -c 'SELECT * FROM suspected_scanners ORDER BY refused DESC, since LIMIT 5'
"$FLEUVE" verify
