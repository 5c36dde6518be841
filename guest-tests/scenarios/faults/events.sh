#!/bin/sh
# shows: an event that is lost costs nothing but what it told; a completion with an error by rule is reported and recovered from; frames and DMA go on
# tier: ci
# timeout: 150
# broken: a link state that does not come right with the next event, a send queue that stays dead
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"

can_ask || skip_all "there is no port to the card"
ready
two_ports
point $? "both ports come up"
remember

fault 'lost: event type=PORT_CHANGE sub_type=DOWN fn=pf1 => drop'
no_link() {
	! carrier "" "$port0"
}
inject link p0 down
check "port 0 sees that its cable is cut" until_true 30 no_link
check "the event for port 1 is lost" held lost
check "port 1 does not know" carrier peer "$port1"
inject link p0 up
check "both know when it is mended" both_up
check "the ports work" again
no_faults

# A late event: the driver sees the link go when it is told.
fault 'late: event type=PORT_CHANGE fn=pf1 => hold'
inject link p0 down
check "the event for port 1 is held" held late
check "port 1 does not know yet" carrier peer "$port1"
check "the event is released" release late
not_peer() {
	! carrier peer "$port1"
}
check "port 1 knows now" until_true 30 not_peer
inject link p0 up
check "both know when it is mended" both_up
no_faults

# health REPORTER FIELD, of the first port.
handle=$(devlink -j health show | jq -r '.health | to_entries[] | select(any(.value[]; .reporter == "tx")) | .key' | head -n 1)
health() {
	devlink -j health show "$handle" reporter "$1" | jq -r ".health[][] | .$2"
}
grew() {
	[ "$(counter "$1")" -gt "$2" ]
}
ethtool --set-priv-flags "$port0" skb_tx_mpwqe off 2>/dev/null
before=$(counter tx_recover)
fault 'cqe: wqe op=SEND fn=pf0 nth=3 => syndrome=LOCAL_QP_OP_ERR'
ping -q -n -c 5 -i 0.2 -W 1 192.0.2.2 >/dev/null
check "a send queue got an error completion" held cqe
check "the driver recovers the queue" until_true 10 grew tx_recover "$before"
check "the tx reporter counts the error" test "$(health tx error)" -gt 0
no_faults
check "the ports work after that" again
unchanged "the faults"
expect 'Error cqe on cqn' 'ERR CQE on SQ'
tolerate 'WQE DUMP'
nothing_left
check_dmesg
finish
