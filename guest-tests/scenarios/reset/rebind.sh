#!/bin/sh
# shows: unbind and bind, devlink reload, remove and rescan, each under traffic: the driver gives everything back every time
# tier: ci
# timeout: 180
# broken: a command that fails on the way out, objects or pages left alive, a port that does not come back
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"

ready
start_two_ports
remember

# gone N WHEN: pf N has nothing alive, and nothing was lost on the way.
gone() {
	can_ask || return 0
	card "pf$1" >/run/function
	same "pf$1 has no object left $2" 0 "$(jq '[.objects, .left_at_teardown | .. | numbers] | add // 0' /run/function)"
	same "pf$1 has given all pages back $2" '[0,0]' "$(jq -c '[.pages.held, .pages.given - .pages.returned - .pages.forgotten]' /run/function)"
}

for round in 1 2 3; do
	flood
	check "unbind $round under traffic" sh -c "echo $pf0 >/sys/bus/pci/drivers/mlx5_core/unbind"
	calm
	gone 0 "after unbind $round"
	check "bind $round" sh -c "echo $pf0 >/sys/bus/pci/drivers/mlx5_core/bind"
	check "the ports work again after bind $round" again
done
unchanged "unbind"

flood
check "devlink reload under traffic" devlink dev reload "pci/$pf0" action driver_reinit
calm
check "the ports work again after the reload" again
unchanged "the reload"

flood
for function in "$pf0" "$pf1"; do
	check "$function is removed" sh -c "echo 1 >/sys/bus/pci/devices/$function/remove"
done
calm
gone 0 "after its removal"
gone 1 "after its removal"
same "the card has gone from the bus" "" "$(functions)"
echo 1 >/sys/bus/pci/rescan
check "the ports work again after the rescan" again
unchanged "the removal"
nothing_left
check_dmesg
finish
