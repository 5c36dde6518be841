# For scenarios of the e-switch; they source vfs.sh, too.

# eswitch PF MODE: legacy, switchdev, switchdev_inactive.
eswitch() {
	devlink dev eswitch set "pci/$1" mode "$2"
}

eswitch_mode() {
	devlink -j dev eswitch show "pci/$1" | jq -r '.dev[].mode'
}

# port_of PF NAME: the network device that has this name of a port: p0 is the uplink, pf0vf1 the representor of VF 1.
port_of() {
	for port_name in "/sys/bus/pci/devices/$1/net"/*/phys_port_name; do
		[ "$(cat "$port_name" 2>/dev/null)" = "$2" ] || continue
		port_name=${port_name%/*}
		echo "${port_name##*/}"
		return 0
	done
	return 1
}

uplink() {
	port_of "$1" "p${1##*.}"
}

# rep PF N: the representor of VF N.
rep() {
	port_of "$1" "pf${1##*.}vf$2"
}

# reps PF COUNT: those of the first COUNT VFs; failure if one is missing.
reps() {
	n=0
	while [ $n -lt "$2" ]; do
		rep "$1" $n || return 1
		n=$((n + 1))
	done
}

# What the driver says as it changes modes.
switchdev_messages() {
	tolerate 'E-Switch: MPFS/FDB active$' 'Disabling HW_VLAN CTAG FILTERING, not supported in switchdev mode$' \
		'Dropping C-tag vlan stripping offload due to S-tag vlan$'
}

# bridge_messages: its bridge offload asks for more than this card offers, and does without.
bridge_messages() {
	tolerate 'E-Switch: Packet reformat INSERT_HEADER is not supported$'
}

# rep_counter DEVICE NAME
rep_counter() {
	ethtool -S "$1" | sed -n "s/^ *$2: //p"
}

# into_bridge DEVICE…: a bridge br0 of them, all up, with the first port's addresses.
into_bridge() {
	ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up || return 1
	for member in "$@"; do
		ip addr flush dev "$member" && ip link set "$member" up && ip link set "$member" master br0 || return 1
	done
	ip addr add 192.0.2.1/24 dev br0 && ip addr add 2001:db8::1/64 dev br0 nodad
}

# out_of_bridge DEVICE: no bridge any more; DEVICE has the addresses again.
out_of_bridge() {
	ip link del br0 && ip addr replace 192.0.2.1/24 dev "$1" && ip addr replace 2001:db8::1/64 dev "$1" nodad
}

forwarding() {
	[ "$(bridge -j link show | jq '[.[] | select(.state == "forwarding")] | length')" = "$1" ]
}

# offloaded COUNT: the card has taken over so many of the addresses that the bridge has learned.
offloaded() {
	[ "$(bridge fdb show br br0 | grep -c ' offload')" -ge "$1" ]
}
