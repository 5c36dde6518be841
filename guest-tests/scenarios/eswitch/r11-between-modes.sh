#!/bin/sh
# shows: RDMA's driver goes, and comes, while the e-switch is between two modes, in a firmware command (R11)
# tier: full
# card: vfs = 2
# timeout: 400
# broken: representors that stay loaded with their operations gone, a mode that never ends, a crash
. "${0%/*}/../lib/reps.sh"

can_ask || skip_all "the card can't be asked"
begin_reps
races_messages
all_vfs

# between MODE COMMAND WHAT…: the e-switch changes to MODE and stops in COMMAND; WHAT happens meanwhile.
between() {
	mode=$1 command=$2
	shift 2
	check "$command is held" fault "slow: cmd op=$command fn=pf0 => hold"
	eswitch "$pf0" "$mode" 2>/run/said &
	changing=$!
	check "the e-switch is on its way to $mode" held slow
	# It may have to wait for the mode.
	"$@" &
	meanwhile=$!
	sleep 2
	check "the command is answered" release slow
	no_faults
	wait $changing
	point $? "the change to $mode succeeds" || say "$(cat /run/said)"
	wait $meanwhile
	point $? "and so does '$*' meanwhile"
	same "the mode is $mode" "$mode" "$(eswitch_mode "$pf0")"
}

without_rdma
between switchdev "CREATE_FLOW_TABLE in.table_type=4" with_rdma
check "each VF has a representor" until_true 30 reps "$pf0" "$total"
check "the uplink and each VF have a port of its IB device" until_true 30 ib_reps "$pf0" "$total"
between legacy "DESTROY_FLOW_TABLE in.table_type=4" without_rdma
check "RDMA's driver comes" with_rdma
between switchdev "CREATE_FLOW_TABLE in.table_type=4" without_rdma
check "there is no IB device" not ib_device "$pf0"
between legacy "DESTROY_FLOW_TABLE in.table_type=4" with_rdma
without_rdma
works_after_races
check_dmesg
finish
