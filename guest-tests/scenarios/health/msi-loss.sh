#!/bin/sh
# shows: an interrupt that is lost: the queue stops, the transmit timeout finds the completions, and traffic goes on
# tier: ci
# timeout: 120
# broken: a queue that stays stopped, a timeout that resets everything where a look would do
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"

can_ask || skip_all "there is no port to the card"
ready
start_two_ports
# One queue for everything, and a short one: it is full soon.
check "one channel" ethtool -L "$port0" combined 1
check "a short ring" ethtool -G "$port0" tx 64
check "the ports work" all_echoes 10 ping -i 0.05 192.0.2.2
lost() {
	card pf0 | jq '[.. | .lost_interrupts? | numbers] | add'
}
same "no interrupt is lost yet" 0 "$(lost)"
check "the next interrupt is lost" inject msi-loss pf0 1
flood
check "the driver finds what it told" until_true 60 said "mlx5_core $pf0 $port0: Recovered [0-9]+ eqes on EQ"
calm
same "one interrupt was lost" 1 "$(lost)"
check "the ports work" all_echoes 10 ping -i 0.05 192.0.2.2
tx_is_healthy() {
	devlink -j health show | jq -e '[.health[][] | select(.reporter == "tx") | .state] | length > 0 and all(. == "healthy")'
}
check "the transmit reporters are healthy" tx_is_healthy

expect 'TX timeout detected$' 'TX timeout on queue: 0,' 'EQ 0x[0-9a-f]+: Cons = 0x[0-9a-f]+, irqn = 0x[0-9a-f]+$' 'Recovered [0-9]+ eqes on EQ'
tolerate 'NETDEV WATCHDOG: .* transmit queue 0 timed out'
nothing_left
check_dmesg
finish
