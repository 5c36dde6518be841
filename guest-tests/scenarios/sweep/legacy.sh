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
# Each of these fails the uplink's network device as it becomes an ordinary one. eswitch/rollback shows what comes of that: nothing can
# be said of the rounds after it.
except 'CREATE_(CQ|RQ|RQT|TIR) of pf0, number [0-9]+'
except 'CREATE_FLOW_TABLE of pf0, number [1-7]'
except 'MODIFY_FLOW_TABLE of pf0, number [2-5]'
except 'CREATE_FLOW_GROUP of pf0, number ([1-9]|1[0-9])'
except 'SET_FLOW_TABLE_ENTRY of pf0, number ([1-9]|1[0-6])'
sweep_mode legacy switchdev
check_dmesg
finish
