#!/bin/sh
# shows: RDMA's driver comes and goes as fast as it can while VFs come and go in switchdev mode: whatever is refused meanwhile, everything works afterwards
# tier: full
# card: vfs = 2
# timeout: 900
# broken: a crash in a representor's load, a representor that stays half loaded, a lock that is never given back
. "${0%/*}/../lib/reps.sh"

begin_reps
races_messages
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev

check "${rounds:=10} rounds of VFs against RDMA's driver" rounds_against "$rounds" "numvfs $pf0 $total" "numvfs $pf0 0"
works_after_races
check_dmesg
finish
