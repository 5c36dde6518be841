#!/bin/sh
# shows: RDMA's driver comes and goes as fast as it can while SFs are added and deleted: whatever is refused meanwhile, everything works afterwards (R4)
# tier: full
# needs: CONFIG_MLX5_SF
# card: vfs = 2
# card: sfs = 4
# timeout: 900
# broken: a crash in a representor's load, a representor that stays half loaded, a lock that is never given back
. "${0%/*}/../lib/reps.sh"

begin_reps
with_sfs 2
races_messages
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
check "${rounds:=10} rounds of SFs against RDMA's driver" rounds_against "$rounds" "sf_add $pf0 88" "sf_del $pf0 88"
! sf_port "$pf0" 88 || check "the SF goes" sf_del "$pf0" 88
works_after_races
check_dmesg
finish
