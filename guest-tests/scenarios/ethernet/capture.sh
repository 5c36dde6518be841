#!/bin/sh
# shows: ctl capture at a port and at a vport: a ping both ways, and the reason for what a rule or a filter drops
# tier: ci
# timeout: 90
# broken: a frame that passes is not in the file, or one that is dropped has no comment
. "${0%/*}/../lib/tap.sh"

can_ask || skip_all "there is no port to the card"
start_two_ports

# frames FILTER…: how many frames of the file a filter of tcpdump's takes.
frames() {
	tcpdump -Z root -nr "/run/capture.pcapng" "$@" 2>/dev/null | wc -l
}
# comments TEXT: how many frames have a comment with this text.
comments() {
	strings -n 8 "/run/capture.pcapng" | grep -cF "dropped: $1"
}

check "every echo comes back" all_echoes 3 ping -i 0.2 192.0.2.2
capture p1
point $? "a capture begins at port p1"
check "every echo comes back with it" all_echoes 5 ping -i 0.1 192.0.2.2
check "a rule that drops" peer ethtool -N "$port1" flow-type ip4 src-ip 192.0.2.1 action -1 loc 1
check "no echo comes back" sh -c "! ping -q -c 3 -i 0.2 -W 1 192.0.2.2"
check "the rule is deleted" peer ethtool -N "$port1" delete 1
captured >/run/said
point $? "the capture ends"
say "$(cat /run/said)"
same "echo requests that came" 8 "$(frames 'icmp[0] == 8')"
same "replies that went" 5 "$(frames 'icmp[0] == 0')"
same "frames that a rule dropped, by their comments" 3 "$(comments 'a steering rule drops it')"

capture pf0
point $? "a capture begins at the vport of pf0"
check "every echo comes back" all_echoes 3 ping -i 0.2 192.0.2.2
ip -n peer neigh replace 192.0.2.1 lladdr 02:99:99:99:99:99 dev "$port1" nud permanent
check "what is sent to another address does not arrive" sh -c "! ip netns exec peer ping -q -c 2 -i 0.2 -W 1 192.0.2.1"
ip -n peer neigh del 192.0.2.1 dev "$port1"
captured >/run/said
point $? "the capture ends"
same "requests that went and replies that came" "3 3" "$(frames 'icmp[0] == 8 and src 192.0.2.1') $(frames 'icmp[0] == 0 and dst 192.0.2.1')"
# Others may be multicast that nobody asked for.
check "frames that no rule took, by their comments" test "$(comments 'no steering rule takes it')" -ge 2
one_namespace
check_dmesg
finish
