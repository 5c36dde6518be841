#!/bin/sh
# shows: pages are given while the driver is in a firmware command that it sends with the e-switch's state lock held
# tier: ci
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 240
# broken: the page worker waits for esw->state_lock: no page comes until the command ends; with firmware that waits for the pages a
#   command times out ("timeout. Will cause a leak of a command resource"); lockdep reports the new chain. The first version did that.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
for command in "QUERY_HCA_CAP in.other_function=1" "MODIFY_VPORT_STATE in.other_vport=1"; do
	check "${command%% *} about another is held" fault "slow: cmd op=$command fn=pf0 => hold"
	vfs 1 &
	enabling=$!
	check "the driver is in it" held slow
	before=$(total)
	check "an event asks for pages" inject pages pf0 50
	check "they are given all the same" until_true 20 is_total $((before + 50))
	check "and for the VF, of whom the driver does not know yet" inject pages pf0vf0 20
	check "they are given, too" until_true 20 is_total $((before + 70))
	check "an event offers some" inject pages pf0 -50
	check "they are taken" until_true 20 is_total $((before + 20))
	check "the command is answered" release slow
	wait $enabling
	point $? "the VF comes"
	no_faults
	agree "with the VF" 20
	vfs_down
	agree "without the VF"
done
leave
check "the driver loads again" load
check_dmesg
finish
