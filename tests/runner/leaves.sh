#!/bin/sh
# shows: nothing: it leaves a warning behind, and a process
# tier: ci
# timeout: 60
. "${0%/*}/../lib/tap.sh"
sleep 100000 &
check "it works" true
echo '<4>mlx5_core 0000:01:00.0: WARNING: this was not there before' >/dev/kmsg
finish
