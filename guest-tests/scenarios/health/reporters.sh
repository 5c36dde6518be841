#!/bin/sh
# shows: devlink health: what is only reported, a heartbeat that stops, a second failure within the grace period, recovery by hand
# tier: ci
# timeout: 120
# broken: a report that is lost, a driver that stays loaded on dead firmware, a recovery by hand that fails, pages or objects left
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"

can_ask || skip_all "there is no port to the card"
ready
start_two_ports
remember

# reporter NAME FIELD: of pf0.
reporter() {
	devlink -j health show "pci/$pf0" reporter "$1" | jq -r ".health[][].$2"
}
errors_are() {
	[ "$(reporter "$1" error)" = "$2" ]
}
state_is() {
	[ "$(reporter "$1" state)" = "$2" ]
}
syndrome() {
	devlink -j health diagnose "pci/$pf0" reporter fw | jq -c '[.. | .Syndrome?, .Description? | values]'
}

same "nothing is wrong at first" '[0]' "$(syndrome)"
inject health pf0 0xc report
check "the driver sees a report" until_true 30 errors_are fw 1
same "devlink tells what it is" '[12,"async EQ buffer overrun"]' "$(syndrome)"
inject health pf0 0 report
same "it is over" '[0]' "$(syndrome)"
check "nothing was lost" all_echoes 10 ping -i 0.05 192.0.2.2

inject heartbeat pf0 off
check "the driver misses the heartbeat" until_true 30 errors_are fw 2
inject heartbeat pf0 on
check "nothing was lost" all_echoes 10 ping -i 0.05 192.0.2.2

before0=$(recoveries "$pf0") before1=$(recoveries "$pf1")
check "the firmware fails for both functions at once" inject health all 7
check "pf0 recovers" until_true 60 more_recoveries "$pf0" "$before0"
check "pf1 recovers" until_true 60 more_recoveries "$pf1" "$before1"
check "the ports work again" again
unchanged "the first failure"
same "nobody has the semaphore" null "$(card sw_reset_owner)"
devlink health set "pci/$pf0" reporter fw_fatal grace_period 600000
inject health pf0 1
gone() {
	state_is fw_fatal error && ! netdev "$pf0"
}
check "a second one within the grace period unloads the driver" until_true 30 gone
same "one was recovered from" 1 "$(reporter fw_fatal recover)"
before1=$(recoveries "$pf1")
check "recovery by hand" devlink health recover "pci/$pf0" reporter fw_fatal
check "the reporter is healthy" state_is fw_fatal healthy
check "the reset took pf1 too, which recovers" until_true 30 more_recoveries "$pf1" "$before1"
no_grace "$pf0"
check "the ports work again" again
unchanged "the second failure"

recovery_messages
health_messages
expect 'Health issue observed, firmware internal error, severity\(3\) ERROR:$' 'Issuing FW Reset$' \
	"device's health compromised - reached miss count\$" 'Driver is in error state. Unloading$' 'interface is down, NOP$' \
	'Health issue observed, irisc not responding, severity\(3\) ERROR:$'
# Both PFs see that the firmware is dead, and one of them resets the card: the other says so if it asks meanwhile.
tolerate 'Failed to lock SW reset semaphore$'
# Older kernels tell devlink alone.
tolerate 'Health issue observed, async EQ buffer overrun, severity\(3\) ERROR:$'
nothing_left
check_dmesg
finish
