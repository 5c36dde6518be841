#!/bin/sh
# shows: ethtool -N: rules of the user drop and steer what they name and nothing else, and go away again; aRFS can be switched on
# tier: ci
# timeout: 120
# broken: a rule that is refused, that takes traffic it does not name, or that stays when it is deleted
. "${0%/*}/../lib/tap.sh"

start_two_ports

no_echo() {
	! ping -q -c 2 -i 0.2 -W 1 "$@"
}
# udp PORT: thirty-two datagrams to the second port.
udp() {
	bash -c "for n in {1..32}; do echo datagram >/dev/udp/192.0.2.2/$1; done"
}
# at_least NAME VALUE: whether a statistic of the second port has come to VALUE.
at_least() {
	[ "$(peer_counter "$1")" -ge "$2" ]
}

check "ntuple filters can be switched on" peer ethtool -K "$port1" ntuple on
check "every echo comes back without rules" all_echoes 3 ping -i 0.2 192.0.2.2

check "a rule that drops what comes from one address" peer ethtool -N "$port1" flow-type ip4 src-ip 192.0.2.1 action -1 loc 1
check "no echo comes back" no_echo 192.0.2.2
check "IPv6 is not named, and passes" all_echoes 3 ping -6 -i 0.2 2001:db8::2
check "the rule is listed" sh -c "ip netns exec peer ethtool -n $port1 rule 1 | grep -q 'Action: Drop'"
check "the rule is deleted" peer ethtool -N "$port1" delete 1
check "every echo comes back again" all_echoes 3 ping -i 0.2 192.0.2.2

channels=$(peer ethtool -l "$port1" | sed -n 's/^Combined:[^0-9]*//p' | tail -n 1)
if [ "${channels:-1}" -ge 2 ]; then
	for queue in 0 1; do
		check "a rule that steers a UDP port to queue $queue" peer ethtool -N "$port1" flow-type udp4 dst-port 5000 action $queue loc 2
		before=$(peer_counter "rx${queue}_packets")
		udp 5000
		check "queue $queue got all 32 datagrams" until_true 10 at_least "rx${queue}_packets" $((before + 32))
	done
	check "the rule is deleted" peer ethtool -N "$port1" delete 2
fi
check "by address of the link: a rule that drops" peer ethtool -N "$port1" flow-type ether src "$(cat "/sys/class/net/$port0/address")" action -1 loc 3
check "nothing comes through" no_echo -6 2001:db8::2
check "switching the filters off and on" sh -c "ip netns exec peer ethtool -N $port1 delete 3 && ip netns exec peer ethtool -K $port1 ntuple off && ip netns exec peer ethtool -K $port1 ntuple on"
# aRFS: the stack asks for a rule for each flow that it steers.
check "receive flow steering is switched on" peer sh -c "mount -t sysfs sysfs /sys; echo 256 >/proc/sys/net/core/rps_sock_flow_entries
	for queue in /sys/class/net/$port1/queues/rx-*; do echo 128 >\$queue/rps_flow_cnt || exit 1; done"
check "every echo comes back with it" all_echoes 3 ping -i 0.2 192.0.2.2
one_namespace
check_dmesg
finish
