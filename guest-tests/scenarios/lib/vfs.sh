# For scenarios with VFs.

# with_vfs COUNT: sets $pf0 and $pf1, the PFs, and $total, the VFs of each; skips if there are fewer than COUNT.
with_vfs() {
	wanted=$1
	set -- $(functions)
	pf0=$1 pf1=$2
	total=$(cat "/sys/bus/pci/devices/$pf0/sriov_totalvfs" 2>/dev/null)
	[ "${total:-0}" -ge "$wanted" ] || skip_all "the card has fewer than $wanted VFs a PF"
}

# numvfs PF COUNT: so many VFs of a PF.
numvfs() {
	echo "$2" >"/sys/bus/pci/devices/$1/sriov_numvfs"
}

# vf PF N: the PCI address of a VF.
vf() {
	readlink -f "/sys/bus/pci/devices/$1/virtfn$2" | sed 's/.*\///'
}

# vfs_are_there PF COUNT: each of them has a network device.
vfs_are_there() {
	n=0
	while [ $n -lt "$2" ]; do
		netdev "$(vf "$1" $n)" || return 1
		n=$((n + 1))
	done
}

# house PF N NAME HOST: puts a VF's network device into a namespace of its own, with addresses.
house() {
	device=$(netdev "$(vf "$1" "$2")") && move_in "$device" "$3" "$4"
}

# move_in DEVICE NAME HOST: the same for any network device.
move_in() {
	ip netns add "$2" && ip link set "$1" netns "$2" || return 1
	ip -n "$2" link set lo up
	# The address is another one each time: nobody may remember the last.
	ip -all netns exec ip neigh flush all
	ip neigh flush all
	ip -n "$2" addr add "192.0.2.$3/24" dev "$1" && ip -n "$2" addr add "2001:db8::$3/64" dev "$1" nodad || return 1
	ip -n "$2" link set "$1" up && until_true 30 carrier "$2" "$1"
}

# device_in NAMESPACE: the network device in it.
device_in() {
	ip -n "$1" -j link | jq -r '.[] | select(.ifname != "lo") | .ifname'
}

# reach NAMESPACE HOST: IPv4 and IPv6. A VF that has just come up hears groups only when its PF's driver has seen to it,
# a moment later: the first echo may have to wait for that.
reach() {
	until_true 10 ip netns exec "$1" ping -6 -q -c 1 -W 1 "2001:db8::$2"
	all_echoes 5 ip netns exec "$1" ping -i 0.05 "192.0.2.$2" &&
		all_echoes 5 ip netns exec "$1" ping -6 -i 0.05 "2001:db8::$2"
}

# vf_pages PF: the pages that its driver has given for VFs.
vf_pages() {
	cat "/sys/kernel/debug/mlx5/$1/pages/fw_pages_vfs"
}

# What the card says that it holds for the VFs of pf0, in all.
held_for_vfs() {
	n=0
	while [ $n -lt "$total" ]; do
		card "pf0vf$n/pages/held" || return 1
		n=$((n + 1))
	done | jq -s add
}

# vfs_go SECONDS WHEN: those of pf0 go within that time, and take no page with them.
vfs_go() {
	before=$(uptime_seconds)
	check "the VFs go $2" numvfs "$pf0" 0
	took=$(($(uptime_seconds) - before))
	check "within seconds ($took) $2" test $took -lt $(($1 * ${MLX5EMU_TIMEOUT_SCALE:-1}))
	same "no page is left with them $2" 0 "$(vf_pages "$pf0")"
	! can_ask || same "nor does the card hold one $2" 0 "$(held_for_vfs)"
}

held_is_given() {
	[ "$(held_for_vfs)" = "$(vf_pages "$pf0")" ]
}

# vf_is_gone NAME: the machine that had this VF is no more, and the card has nothing left of it.
vf_is_gone() {
	[ "$(card "$1/connection/connected")" = false ] && [ "$(card "$1/hca")" = '"disabled"' ]
}

# given_to DRIVER FUNCTION: that driver has the PCI function, and no other takes it up.
given_to() {
	at=/sys/bus/pci/devices/$2
	[ ! -e "$at/driver" ] || echo "$2" >"$at/driver/unbind"
	echo "$1" >"$at/driver_override" && echo "$2" >/sys/bus/pci/drivers_probe && [ "$(basename "$(readlink "$at/driver")")" = "$1" ]
}
