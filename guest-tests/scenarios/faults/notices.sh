#!/bin/sh
# shows: what the firmware tells of by itself reaches the driver's log and counters: warm chips, cables pulled out, plugged in and refused
# tier: ci
# timeout: 120
# broken: an event that nobody hears, a cable that does not come back
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"

can_ask || skip_all "there is no port to the card"
ready
two_ports
point $? "both ports come up"

degrees() {
	cat "/sys/bus/pci/devices/$pf0"/hwmon/hwmon*/temp1_input
}
check "the chip gets warm" inject temperature 100
same "its sensor says so" 100000 "$(degrees)"
check "it gets too warm" inject temperature 110
same "its sensor says so, too" 110000 "$(degrees)"
check "the driver was warned" until_true 10 said 'High temperature on sensors with bit set (0x)?0 (0x)?1'
check "it cools down" inject temperature 45

no_link() {
	! carrier "" "$port0"
}
grew() {
	[ "$(counter "$1")" -gt "$2" ]
}
before=$(counter module_unplug)
check "the cable is pulled out" inject module p0 unplugged
check "the driver counts that" until_true 10 grew module_unplug "$before"
check "the link is down" until_true 30 no_link
check "there is no cable to be read" sh -c "! ethtool -m $port0"
check "the cable is plugged in" inject module p0 plugged
check "the link comes up" both_up
check "the cable can be read" ethtool -m "$port0"
before=$(counter module_bad_shorted)
check "the cable is refused" inject module p0 bad-cable
check "the driver counts that, too" until_true 10 grew module_bad_shorted "$before"
check "the link is down" until_true 30 no_link
check "another cable is plugged in" inject module p0 plugged
check "the ports work again" again
check "no host function can change: there is no embedded CPU" sh -c "emu inject host-functions pf0 1 2>&1 | grep 'no embedded CPU'"
expect 'High temperature on sensors with bit set' 'Port module event\[error\]: module 0, Cable error, Bad or shorted cable/module'
tolerate 'Sensor name\[[0-9]+\]: .*' 'query_mcia_reg failed: status: 0x3$'
one_namespace
nothing_left
check_dmesg
finish
