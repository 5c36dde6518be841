#!/bin/sh
# shows: SFs twenty times from nothing to traffic and back: added, activated, with a network device that reaches the wire and another SF through representors, deleted; no page, object or vector is lost
# tier: full
# card: vfs = 2
# card: sfs = 4
# needs: CONFIG_MLX5_SF
# timeout: 900
# broken: an SF that does not come or go, lost echoes, fw_pages_sfs that is not 0 at the end, objects and interrupts left behind
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/eswitch.sh"
. "${0%/*}/../lib/sfs.sh"
. "${0%/*}/../lib/rates.sh"

load
with_sfs 2
start_two_ports
switchdev_messages
bridge_messages

check "in legacy mode there are none" not sf_add "$pf0" 88
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
up=$(uplink "$pf0")

# One that stays.
check "an SF comes" sf_up "$pf0" 99 02:00:00:00:99:99
same "with the address that it was given" 02:00:00:00:99:99 "$(cat "/sys/class/net/$(sf_netdev 99)/address")"
check "it has a representor" sf_rep "$pf0" 99
check "it comes up" move_in "$(sf_netdev 99)" sf99 19
check "a second one with its number is refused" not sf_add "$pf0" 99
check "uplink and representor become a bridge" into_bridge "$up" "$(sf_rep "$pf0" 99)"
check "it reaches the wire" reach sf99 2

vectors() {
	grep -c mlx5 /proc/interrupts
}
objects() {
	card pf0sf1/objects | jq 'add // 0'
}
# round N
round() {
	mac=$(printf '02:00:00:00:88:%02x' "$1")
	sf_up "$pf0" 88 "$mac" || return 1
	rep=$(sf_rep "$pf0" 88) && ip link set "$rep" up && ip link set "$rep" master br0 || return 1
	[ "$(cat "/sys/class/net/$(sf_netdev 88)/address")" = "$mac" ] || return 1
	move_in "$(sf_netdev 88)" sf88 18 || return 1
	until_true 10 ip netns exec sf88 ping -q -c 1 -W 1 192.0.2.2 || return 1
	all_echoes 5 ip netns exec sf88 ping -i 0.05 192.0.2.2 || return 1
	all_echoes 5 ip netns exec sf88 ping -i 0.05 192.0.2.19 || return 1
	ip netns del sf88
	# Half of them are asked to leave before they are deleted.
	[ $(($1 % 2)) = 0 ] || sf_set "$pf0" 88 state inactive || return 1
	sf_del "$pf0" 88 && until_true 20 not sf_device 88
}
round=0
while [ $round -lt 20 ]; do
	round=$((round + 1))
	check "an SF comes, reaches the wire and the other SF, and goes ($round)" round $round
	if [ $round = 1 ]; then
		until_true 20 has_sf_pages "$pf0" "$(held_for_sfs)"
		first="$(sf_pages "$pf0") pages, $(vectors) vectors"
	fi
done
until_true 20 has_sf_pages "$pf0" "${first%% *}"
same "after twenty as many pages and vectors as after one" "$first" "$(sf_pages "$pf0") pages, $(vectors) vectors"
if can_ask; then
	same "the card holds as many" "$(sf_pages "$pf0")" "$(held_for_sfs)"
	same "and no object of the one that went" 0 "$(objects)"
	same "which is nobody's" '"INVALID"' "$(card pf0sf1/vhca_state)"
fi

check "the first one reaches the wire still" reach sf99 2
check "it has a maximum rate" devlink port function rate set "$(sf_port "$pf0" 99)" tx_max 20mbit
serve peer 5300
send sf99 192.0.2.2 5300
wait
say "of 20 Mbit/s: $(rate sf99)"
check "which holds" between 14 22 "$(rate sf99)"
ip netns del sf99
check "the bridge goes" out_of_bridge "$up"
check "the first one goes" sf_del "$pf0" 99
check "its device goes" until_true 20 not sf_device 99
check "no page is left for SFs" until_true 20 has_sf_pages "$pf0" 0
! can_ask || same "nor does the card hold one" 0 "$(held_for_sfs)"
check "the e-switch changes back to legacy" eswitch "$pf0" legacy
one_namespace
check "the driver unloads" unload
check_dmesg
finish
