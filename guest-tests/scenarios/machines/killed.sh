#!/bin/sh
# shows: two machines on one card reach each other; one loses its power, the other loses its link and nothing else; it boots again, and so does the link
# tier: ci
# timeout: 240
# vms: a b
# broken: the survivor keeps its link, or its driver hangs or complains; or the card keeps pages of a machine that is gone
. "${0%/*}/../lib/tap.sh"

# both_ways WHEN
both_ways() {
	check "the first has a link $1" until_true 30 carrier "" "$port"
	check "IPv4, first machine to second, $1" all_echoes 5 ping -i 0.1 192.0.2.2
	check "IPv4, second machine to first, $1" vm b all_echoes 5 ping -i 0.1 192.0.2.1
	check "IPv6, first machine to second, $1" all_echoes 5 ping -6 -i 0.1 -s 1400 2001:db8::2
}
no_carrier() {
	! carrier "" "$port"
}
forgotten() {
	[ "$(card pf1/connection/connected)" = false ] && [ "$(card pf1/pages/held)" = 0 ]
}

same "the first machine has one function" 1 "$(functions | wc -l)"
same "the second has one, too" 1 "$(vm b functions | wc -l)"
vm b sh -c 'echo here; exit 7' >/run/said
same "a command's exit status and output come from there" "7 here" "$? $(cat /run/said)"
one_port 1
point $? "the first one's port has a driver"
check "the second one's, too" vm b one_port 2
both_ways "at first"

check "the second machine is killed" emu vm b kill
check "the first loses its link" until_true 30 no_carrier
check "the card has nothing left of the second" until_true 30 forgotten
check "nothing more can be run in it" sh -c "emu vm b -- true; test \$? = 125"
check "the first one's driver answers" sh -c "ethtool -S $port && devlink dev info"
check "and unloads" unload
one_port 1
point $? "and loads again"
check "there still is no link" no_carrier

check "the second machine boots again" emu vm b start
check "its port has a driver" vm b one_port 2
both_ways "then"
check "the second one's kernel has nothing to complain of" vm b quiet
check_dmesg
finish
