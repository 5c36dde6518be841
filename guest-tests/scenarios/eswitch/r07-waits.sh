#!/bin/sh
# shows: RDMA's driver comes in switchdev mode while a command holds devlink's lock: the work that loads its representors waits without spinning, and loads them when the lock is free (R7)
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 300
# broken: a worker that keeps a processor busy while it waits, representors that do not come
. "${0%/*}/../lib/reps.sh"

# ticks: how long the processors were busy, in hundredths of a second.
ticks() {
	awk '/^cpu / { print $2 + $3 + $4 + $6 + $7 + $8 }' /proc/stat
}

can_ask || skip_all "the card can't be asked"
begin_reps
all_vfs
into_switchdev
# MCQS, which is asked for the versions of the firmware.
check "a command of devlink's will wait" fault "held: cmd op=ACCESS_REG fn=pf0 in.register_id=0x9060 => hold"
devlink dev info "pci/$pf0" >/run/info 2>&1 &
asked=$!
check "it is given" held held
check "RDMA's driver comes meanwhile" with_rdma
sleep 3
check "none of its representors is there" no_ib "$pf0"
used=$(ticks)
sleep 4
used=$(($(ticks) - used))
check "whoever waits for the lock sleeps ($used of 400 ticks)" test "$used" -lt 200
check "the command is answered" release held
wait $asked
point $? "devlink has its answer"
no_faults
check "the uplink and each VF have a port of its IB device" until_true 30 ib_reps "$pf0" "$total"
end_reps
