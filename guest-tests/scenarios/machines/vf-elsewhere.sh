#!/bin/sh
# shows: a VF in another machine than its PF, which gives it life, an address, a link and pages; the VF's machine loses its power and boots again; without its PF's consent the VF is nothing
# tier: ci
# timeout: 300
# card: vfs = 2
# card: [attach]
# card: pf0vf1 = "standalone"
# append: modprobe.blacklist=mlx5_core
# vms: a=pf0,pf1 b=pf0vf1
# broken: a VF that the other machine does not see or cannot use, a PF that suffers when that machine dies, pages that are lost
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/vfs.sh"

start_two_ports
with_vfs 2
same "the other machine has a device of its own" 0x101e "$(vm b device_id)"

# It is nobody's here: as a host does that gives it to a guest.
no_driver_for_vfs() {
	echo 0 >"/sys/bus/pci/devices/$pf0/sriov_drivers_autoprobe"
}
# used WHEN
used() {
	check "the VF's driver finds it $1" vm b one_port 10
	check "it has the address that its PF gave it $1" vm b has_address 02:00:00:00:aa:01
	check "it reaches its PF $1" until_true 20 vm b ping -q -c 1 -W 1 192.0.2.1
	check "with all echoes $1" vm b all_echoes 5 ping -i 0.05 192.0.2.1
	check "and the wire $1" vm b all_echoes 5 ping -i 0.05 192.0.2.2
	check "and is reached $1" all_echoes 5 ping -i 0.05 192.0.2.10
	check "the PF's driver has given its pages $1 ($(vf_pages "$pf0"))" test "$(vf_pages "$pf0")" -gt 32
	! can_ask || same "and the card has them $1" "$(vf_pages "$pf0")" "$(held_for_vfs)"
}

check "VFs are not to get drivers" no_driver_for_vfs
check "VFs come" numvfs "$pf0" 2
same "they are on the bus, the other one's shadow too" "0x15b3 0x15b3" \
	"$(cat "/sys/bus/pci/devices/$(vf "$pf0" 0)/vendor") $(cat "/sys/bus/pci/devices/$(vf "$pf0" 1)/vendor")"
check "the second one gets an address" ip link set "$port0" vf 1 mac 02:00:00:00:aa:01
used "at first"

check "the VF's machine is killed" emu vm b kill
check "the card has nothing left of it" until_true 30 vf_is_gone pf0vf1
check "the PF lives" all_echoes 5 ping -i 0.05 192.0.2.2
check "the VF's machine boots again" emu vm b start
used "then"

check "the PF has the VF's link down" ip link set "$port0" vf 1 state disable
check "the VF loses it" until_true 20 vm b no_carrier
check "and up" ip link set "$port0" vf 1 state auto
check "the VF has it again" until_true 20 vm b has_carrier

check "the VF's driver unloads" vm b unload
check "the VFs go" numvfs "$pf0" 0
same "no page is left with them" 0 "$(vf_pages "$pf0")"
check "they come again" numvfs "$pf0" 2
check "the second one gets an address again" ip link set "$port0" vf 1 mac 02:00:00:00:aa:01
used "again"
check "the VF's driver unloads at last" vm b unload
check "the VFs go at last" numvfs "$pf0" 0
same "no page is left with them at last" 0 "$(vf_pages "$pf0")"
check "the VF's kernel has nothing to complain of" vm b quiet
one_namespace
check_dmesg
finish
