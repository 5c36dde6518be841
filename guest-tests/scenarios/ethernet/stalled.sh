#!/bin/sh
# shows: queues that stand still: a send queue whose completions never come is found by the transmit timeout and replaced; the queue for the driver's own WQEs (ICOSQ) fails, and the driver takes it and the receive queue up again
# tier: full
# timeout: 150
# broken: a port that stays dumb, a receive queue that runs dry, a reporter that is not healthy afterwards
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/queues.sh"

can_ask || skip_all "the card can't be asked"
start_two_ports
reporters
# One queue for everything, and a short one: it is full soon.
check "one channel" ethtool -L "$port0" combined 1
check "a short ring" ethtool -G "$port0" tx 64
check "the ports work" both_ways

# What is alive in the card afterwards must be as much as before.
holdings() {
	card pf0 | jq -cS .objects
}
before=$(holdings)
sqn=$(devlink -j health diagnose "$handle" reporter tx | jq '[.. | objects | .sqn? // empty][0]')
errors=$(health tx error) recoveries=$(health tx recover)
check "send queue $sqn stands still" inject stall pf0 "$sqn"
stands_still() {
	card pf0/queues | jq -e "[.[] | select(.stalled)] | length == $1"
}
check "the card says so" stands_still 1
ping -q -f -W 1 192.0.2.2 >/dev/null 2>&1 &
flood=$!
reported() {
	[ "$(health tx error)" -gt "$errors" ] && [ "$(health tx recover)" -gt "$recoveries" ]
}
check "the transmit timeout is reported and recovered from" until_true 60 reported
kill $flood
wait $flood 2>/dev/null
check "the port has a link" both_up
check "the ports work again" both_ways
same "the tx reporter is healthy" healthy "$(health tx state)"
check "the queue is gone" stands_still 0
same "as much is alive as before" "$before" "$(holdings)"

check "usual rings" ethtool -G "$port0" tx 1024
check "striding queues" ethtool --set-priv-flags "$port0" rx_striding_rq on
check "the port has a link" both_up
icosq=$(devlink -j health diagnose "$handle" reporter rx | jq '[.. | objects | .ICOSQ? // empty | .sqn][0]')
before=$(counter rx_recover) errors=$(health rx error)
check "ICOSQ $icosq fails" break_sq "$icosq"
# The receive queue wants new buffers mapped after some hundred packets.
peer ping -q -n -f -c 3000 -W 1 192.0.2.1 >/dev/null
check "the driver recovers it, with its receive queue" until_true 20 grew rx_recover "$before"
check "the ports work again" both_ways
check "so do thousands of packets" all_echoes 3000 peer ping -f 192.0.2.1
check "the rx reporter counts the error" test "$(health rx error)" -gt "$errors"
same "the rx reporter is healthy" healthy "$(health rx state)"
one_namespace

expect 'TX timeout detected$' "TX timeout on queue: 0, SQ: $(printf '0x%x' "$sqn")," "ERR CQE on ICOSQ: $(printf '0x%x' "$icosq")"
tolerate 'NETDEV WATCHDOG: .* transmit queue 0 timed out' 'EQ 0x[0-9a-f]+: Cons = 0x[0-9a-f]+, irqn = 0x[0-9a-f]+$' \
	'Error cqe on cqn' 'WQE DUMP'
tolerate 'WARNING: .*mlx5e_poll_ico_cq'
# The driver has a warning with a trace for the first WQE of its own that fails: no other may be there.
same "one warning with a trace" 1 "$(dmesg | grep -c 'cut here')"
check "it is that of the driver" said 'Bad OP in ICOSQ CQE: 0xd'
check_dmesg
finish
