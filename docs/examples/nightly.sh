#!/bin/sh
# Every study of an export folder, once a night: predict, write DICOM, send it back. Research use only.
#
#   nightly.sh EXPORTS OUT AET@HOST:PORT ALLOWED.txt [QUIET_MINUTES]
#
# EXPORTS holds one folder or .zip for each study. OUT keeps maps and DICOM under a hash of the study's name, so that no
# patient's name gets into it, and OUT/outbox keeps what the archive could not take. Ends with 0 if all went well, else 4.
set -u
exports=$1 out=$2 archive=$3 allowed=$4 quiet=${5:-10}
perfmap=${PERFMAP:-perfmap}
mkdir -p "$out" && chmod 700 "$out" || exit 3
exec 9>"$out/lock"
flock -n 9 || exit 0 # the run of last night still works
failed=0

send() {
    $perfmap send "$@" --to "$archive" --allow "$allowed" --queue "$out/outbox" --quiet --log-file "$out/nightly.log"
}

for study in "$exports"/*; do
    [ -e "$study" ] || continue
    id=$(basename "$study" | sha256sum | cut -c1-16)
    [ -e "$out/$id/done" ] && continue
    # A study with a file younger than the quiet time may still be arriving: tomorrow.
    [ -n "$(find "$study" -type f -mmin "-$quiet" -print -quit)" ] && continue
    # Messages name the input: a link without the study's name keeps patients out of the log.
    ln -sfn "$(realpath "$study")" "$out/study-$id"
    $perfmap predict "$out/study-$id" -o "$out/$id/nrcbv.nii.gz" --dicom "$out/$id/dicom" --overwrite --quiet \
        --log-file "$out/nightly.log"
    code=$?
    rm -f "$out/study-$id"
    case $code in
    0) send "$out/$id/dicom"; code=$?; [ $code -eq 0 ] || [ $code -eq 4 ] || { failed=1; continue; }
        [ $code -eq 0 ] || failed=1 # it waits in the outbox, and is not predicted again
        touch "$out/$id/done" ;;
    3) mkdir -p "$out/$id" && touch "$out/$id/done" ;; # no usable DSC series; the log says why
    130 | 143) exit 4 ;;
    *) failed=1 ;; # tried again tomorrow
    esac
done

if [ -d "$out/outbox" ] && [ -n "$(find "$out/outbox" -name job.json -print -quit)" ]; then
    send || failed=1
fi
[ $failed -eq 0 ] || exit 4
