#!/bin/sh
# shows: rates of VFs hold, set by ip link in legacy mode and as devlink-rate objects in switchdev: a maximum, that of a group, and shares of it
# tier: ci
# card: vfs = 2
# timeout: 240
# broken: a VF that sends more than it may, or much less, a share that is none, a scheduling element that stays behind
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/eswitch.sh"
. "${0%/*}/../lib/rates.sh"
. "${0%/*}/../lib/tc.sh"

load
with_vfs 2
start_two_ports
switchdev_messages
for n in 0 1; do
	check "VF $n has an address" ip link set "$port0" vf $n mac 02:00:00:00:aa:0$n
done
check "two VFs come" numvfs "$pf0" 2
until_true 60 vfs_are_there "$pf0" 2

elements() {
	card eswitch/pf0/scheduling | jq length
}

# To the wire.
send_legacy() {
	serve peer 5300
	send vf0 192.0.2.2 5300
	wait
}
same "no rate is set" 0 "$(elements)"
check "a VF comes up" house "$pf0" 0 vf0 10
send_legacy
free=$(rate vf0)
say "without a maximum: $free Mbit/s"
check "more than any rate of this test" test "$free" -gt 80
check "the PF's driver sets a maximum" ip link set "$port0" vf 0 max_tx_rate 40
send_legacy
say "of 40 Mbit/s: $(rate vf0)"
check "it holds" between 28 42 "$(rate vf0)"
same "the card has it" 40 "$(card eswitch/pf0/scheduling | jq '.[] | select(.of == "pf0vf0") | .max_mbps')"
check "it is changed under way" ip link set "$port0" vf 0 max_tx_rate 10
send_legacy
say "of 10 Mbit/s: $(rate vf0)"
check "and holds" between 6 12 "$(rate vf0)"
check "it is taken away" ip link set "$port0" vf 0 max_tx_rate 0
send_legacy
say "without a maximum: $(rate vf0) Mbit/s"
check "then nothing holds it back" test "$(rate vf0)" -gt 80
ip netns del vf0
until_true 30 vfs_are_there "$pf0" 2

# In switchdev mode each VF sends to its representor.
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
until_true 30 reps "$pf0" 2
until_true 60 vfs_are_there "$pf0" 2
tell() {
	devlink port function rate "$@"
}
# leaf N: the devlink port of VF N.
leaf() {
	devlink -j port show | jq -r --arg pf "pci/$pf0/" --argjson vf "$1" \
		'.port | to_entries[] | select((.key | startswith($pf)) and .value.flavour == "pcivf" and .value.vfnum == $vf) | .key'
}
rep0=$(rep "$pf0" 0)
for n in 0 1; do
	rep=$(rep "$pf0" $n)
	ip addr add 198.51.$n.1/24 dev "$rep" && ip link set "$rep" up
	check "VF $n comes up" house "$pf0" $n vf$n 1$n
	ip -n vf$n addr add 198.51.$n.10/24 dev "$(device_in vf$n)"
	check "it reaches its representor" until_true 10 ip netns exec vf$n ping -q -c 1 -W 1 198.51.$n.1
done
leaf0=$(leaf 0) leaf1=$(leaf 1)
# Both at once.
both_send() {
	for n in 0 1; do
		serve "" 530$n
	done
	send vf0 198.51.0.1 5300 &
	send vf1 198.51.1.1 5301
	wait
	rate0=$(rate vf0) rate1=$(rate vf1)
	say "$1: $rate0 and $rate1 Mbit/s"
}
check "a maximum of a VF" tell set "$leaf0" tx_max 20mbit
both_send "of 20 Mbit/s for one"
check "it holds" between 14 22 "$rate0"
check "and for nobody else" test "$rate1" -gt 30
check "which is shown" sh -c "devlink port function rate show $leaf0 | grep -q 'tx_max 20Mbit'"
check "it is taken away" tell set "$leaf0" tx_max 0

check "a group" tell add "pci/$pf0/all"
check "its maximum" tell set "pci/$pf0/all" tx_max 50mbit
for port in "$leaf0" "$leaf1"; do
	check "a VF belongs to it" tell set "$port" parent all
done
both_send "of 50 Mbit/s for both"
check "both together keep it" between 38 53 $((rate0 + rate1))
check "and share it evenly" between 16 34 "$rate0"
check "one has a share" tell set "$leaf0" tx_share 8mbit
check "the other one four times as much" tell set "$leaf1" tx_share 32mbit
both_send "by 1 to 4"
check "together they keep it" between 38 53 $((rate0 + rate1))
check "the shares are kept" between 18 60 $((rate1 * 10 / (rate0 + 1)))
say "$(emu inspect eswitch/pf0/scheduling)"
same "the card knows both as theirs" 'pf0vf0=8 pf0vf1=32' \
	"$(card eswitch/pf0/scheduling | jq -r '[.[] | select(.of != "TSAR") | "\(.of)=\(.bw_share)"] | sort | join(" ")')"

check "a rate that is no whole Mbit/s is refused" not tell set "$leaf0" tx_max 1500kbit
check "one above the link's, too" not tell set "$leaf0" tx_max 200gbit
! since 7.2 || check "shares of traffic classes are not offered" not tell set "$leaf0" tc-bw 0:50 1:50 2:0 3:0 4:0 5:0 6:0 7:0
check "the group cannot go while it has members" not tell del "pci/$pf0/all"
for port in "$leaf0" "$leaf1"; do
	check "a VF leaves it" tell set "$port" noparent
	check "and has no share" tell set "$port" tx_share 0
done
check "the group goes" tell del "pci/$pf0/all"
# Older kernels keep the elements of a VF until it goes.
nothing_left() {
	! since 7.2 || same "nothing is left of $1" 0 "$(elements)"
}
nothing_left "the group"

# A rule that polices what a VF sends is a maximum, too; the stock kernel has no such rules.
if takes_rules "$rep0"; then
	police() {
		tc filter add dev "$rep0" ingress protocol all prio 1 matchall skip_sw action police rate 20mbit burst 64k conform-exceed drop/continue
	}
	check "what one sends is policed" police
	both_send "policed to 20 Mbit/s"
	check "it holds" between 14 22 "$rate0"
	check "the rule goes" no_rules "$rep0"
	check "and the rate with it" tell set "$leaf0" tx_max 0
	nothing_left "the rule"
fi

# Groups in groups, with nobody in them; older kernels have none.
if since 7.2; then
	above=
	for name in one two three; do
		check "group $name" tell add "pci/$pf0/$name"
		[ -z "$above" ] || check "it belongs to $above" tell set "pci/$pf0/$name" parent $above
		above=$name
	done
	check "a fourth" tell add "pci/$pf0/four"
	check "has no place below them" not tell set "pci/$pf0/four" parent three
	for name in four three two one; do
		check "group $name goes" tell del "pci/$pf0/$name"
	done
	nothing_left "the groups"
fi

# One that is set as the mode changes and VFs go.
check "a maximum again" tell set "$leaf1" tx_max 30mbit
ip netns del vf0
ip netns del vf1
until_true 60 vfs_are_there "$pf0" 2
check "the e-switch changes back to legacy" eswitch "$pf0" legacy
check "the VFs go" numvfs "$pf0" 0
same "and their rates" 0 "$(elements)"
one_namespace
check_dmesg
finish
