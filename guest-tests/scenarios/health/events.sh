#!/bin/sh
# shows: firmware that fails under traffic is dumped, reset and recovered, for all functions of the card; a cut cable is link-down at both ends
# tier: ci
# timeout: 120
# broken: a failure that nobody notices, a recovery that ends in an error, a link that does not come back, pages or objects left
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"

can_ask || skip_all "there is no port to the card"
ready
start_two_ports
remember

no_link() {
	! carrier "" "$port0" && ! carrier peer "$port1"
}
inject link p0 down
check "a cut cable is link-down at both ends" until_true 30 no_link
inject link p0 up
check "a mended one is link-up" until_true 30 carrier "" "$port0"
check "the ports work again" again

before0=$(recoveries "$pf0") before1=$(recoveries "$pf1") resets=$(card pf0/connection/sw_resets)
flood
check "the firmware of pf0 fails" inject health pf0 1
check "the driver has it reset and recovers" until_true 30 more_recoveries "$pf0" "$before0"
check "the reset took pf1 too, which recovers" until_true 30 more_recoveries "$pf1" "$before1"
calm
check "the ports work again" again
unchanged "the failure"
same "the driver asked for one software reset" $((resets + 1)) "$(card pf0/connection/sw_resets)"
same "nobody has the semaphore" null "$(card sw_reset_owner)"

# What the driver read through the gateway before the reset: the initialization segment, with its health buffer.
devlink -j health dump show "pci/$pf0" reporter fw_fatal >/run/dump
# It is dwords of the machine's byte order, printed as bytes: `synd` is in bits 23:16 of the one at 0x23c.
crdump() {
	jq "[.. | .crdump_data? // empty] | flatten | $1" /run/dump
}
same "the dump has the whole of the initialization segment" 8208 "$(crdump length)"
same "the dump names the syndrome" 1 "$(crdump ".[$((0x23e))]")"
check "the dump can be cleared" devlink health dump clear "pci/$pf0" reporter fw_fatal

recovery_messages
health_messages
expect 'Health issue observed, firmware internal error, severity\(3\) ERROR:$' 'Issuing FW Reset$'
nothing_left
check_dmesg
finish
