#!/bin/sh
# shows: a secondary bus reset (hot reset) takes both functions at once, under traffic; a single function by reset_method bus
# tier: ci
# timeout: 120
# broken: a driver that does not notice, a port that stays away, configuration space that is not restored, pages or objects left
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"

ready
start_two_ports
remember
root_port=$(dirname "$(readlink -f "/sys/bus/pci/devices/$pf0")")

if [ -e "$root_port/reset_subordinate" ]; then
	before0=$(recoveries "$pf0") before1=$(recoveries "$pf1")
	flood
	check "everything below the root port is reset under traffic" sh -c "echo 1 >$root_port/reset_subordinate"
	check "the driver recovers the first function" until_true 30 more_recoveries "$pf0" "$before0"
	check "the driver recovers the second function" until_true 30 more_recoveries "$pf1" "$before1"
	calm
	no_grace "$pf0"
	no_grace "$pf1"
	check "the ports work again" again
	unchanged "the bus reset"
else
	say "this kernel has no reset_subordinate"
fi

# A function can be reset through its bus when it is alone there.
ip netns del peer
echo 1 >"/sys/bus/pci/devices/$pf1/remove"
before=$(recoveries "$pf0")
check "a function alone on its bus can be reset by it" sh -c "echo bus >/sys/bus/pci/devices/$pf0/reset_method"
check "it is reset" sh -c "echo 1 >/sys/bus/pci/devices/$pf0/reset"
check "the driver recovers it" until_true 30 more_recoveries "$pf0" "$before"
echo 1 >/sys/bus/pci/rescan
check "the ports work again" again
unchanged "the bus reset of one function"
recovery_messages
nothing_left
check_dmesg
finish
