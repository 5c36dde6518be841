#!/bin/sh
# shows: a function that answers nothing (reads are all-ones) under traffic: the driver waits for it and recovers; it can be removed meanwhile
# tier: ci
# timeout: 120
# broken: a driver that takes all-ones for an answer, a removal that hangs, a recovery that ends in an error, pages or objects left
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"

can_ask || skip_all "there is no port to the card"
ready
start_two_ports
remember

deaths() {
	dmesg | grep -c "mlx5_core $pf0: .*Fatal error 1 detected"
}
more_deaths() {
	[ "$(deaths)" -gt "$1" ]
}

before=$(recoveries "$pf0")
flood
check "pf0 leaves the bus" inject bus pf0 off
same "its configuration space reads all-ones" ffffffff "$(setpci -s "$pf0" 0.L)"
check "the driver notices" until_true 30 more_deaths 0
calm
no_link() {
	! carrier peer "$port1"
}
check "the port at the other end has no link" no_link
check "pf0 is back" inject bus pf0 on
check "the driver recovers" until_true 30 more_recoveries "$pf0" "$before"
check "the ports work again" again
unchanged "its absence"

before=$(deaths)
check "pf0 leaves the bus again" inject bus pf0 off
check "the driver notices" until_true 30 more_deaths "$before"
check "it is removed while it is away" timeout 30 sh -c "echo 1 >/sys/bus/pci/devices/$pf0/remove"
check "it is back" inject bus pf0 on
echo 1 >/sys/bus/pci/rescan
check "the ports work again" again
unchanged "its absence and removal"

recovery_messages
health_messages
expect 'PCI slot is unavailable$' 'device is being removed, stop waiting for PCI$'
# The dump waits for the gateway's semaphore, which reads all-ones, for as long as the function is away.
tolerate 'crdump: failed to lock vsc gw err -16$'
tolerate 'NIC IFC still 7 after [0-9]+ms\.$' 'interface is down, NOP$' 'health recovery (flow aborted, PCI reads still not working|failed)$' 'device .* is not accessible'
nothing_left
check_dmesg
finish
