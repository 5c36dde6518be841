#!/bin/sh
# shows: RDMA's driver comes and goes as fast as it can while the e-switch changes its mode: whatever is refused meanwhile, everything works afterwards
# tier: full
# card: vfs = 2
# timeout: 900
# broken: a crash in a representor's load, a representor that stays half loaded, a lock that is never given back
. "${0%/*}/../lib/reps.sh"

begin_reps
races_messages
all_vfs

check "${rounds:=10} rounds of modes against RDMA's driver" rounds_against "$rounds" "eswitch $pf0 switchdev" "eswitch $pf0 legacy"
works_after_races
check_dmesg
finish
