#!/bin/sh
# shows: each firmware command of a change back from switchdev to legacy mode fails in turn: no splat, and the next change works
# tier: full
# card: vfs = 1
# timeout: 7200
# broken: an oops in an error path, an e-switch whose mode cannot be changed any more
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/sweep.sh"
. "${0%/*}/../lib/eswitch.sh"

with_lone_vf
switchdev_messages
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
sweep_mode legacy switchdev
check_dmesg
finish
