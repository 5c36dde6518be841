#!/bin/sh
# shows: nothing: the guest says what it would say if it died
# tier: ci
# timeout: 60
# dies: not syncing: never
. "${0%/*}/../lib/tap.sh"
echo '<0>not syncing: never' >/dev/kmsg
check "it works" true
finish
