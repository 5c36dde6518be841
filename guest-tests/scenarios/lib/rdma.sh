# For scenarios with the driver's RDMA side; those with representors source reps.sh.

# with_rdma, without_rdma: mlx5_ib, without what it stands on.
with_rdma() {
	modprobe mlx5_ib
}

without_rdma() {
	[ ! -d /sys/module/mlx5_ib ] || rmmod mlx5_ib
}

# ib_device PF: its name.
ib_device() {
	for device in "/sys/bus/pci/devices/$1/infiniband"/*; do
		[ -e "$device" ] && echo "${device##*/}" && return 0
	done
	return 1
}

# ib_netdevs PF: the network devices of the ports of its IB device.
ib_netdevs() {
	device=$(ib_device "$1") || return 1
	rdma -j link show | jq -r --arg device "$device" '.[] | select(.ifname == $device) | .netdev // empty'
}

# no_ib PF: its IB device is not there, or has no port of any network device.
no_ib() {
	[ -z "$(ib_netdevs "$1")" ]
}

# ib_reps PF COUNT: its IB device has a port for the uplink and for each of COUNT VFs.
ib_reps() {
	ib_has "$1" $(uplink "$1") $(reps "$1" "$2")
}

# ib_has PF DEVICE…: the ports of its IB device are those of these network devices.
ib_has() {
	ib_netdevs "$1" | sort >/run/ib
	shift
	printf '%s\n' "$@" | sort >/run/reps
	cmp /run/ib /run/reps || {
		rdma link show
		return 1
	}
}

# rounds_against COUNT THERE BACK: the commands THERE and BACK in turn, COUNT times, while RDMA's driver comes and goes. What is refused
# meanwhile is no failure; but each of the four has to succeed some time, or there was no race.
rounds_against() {
	rm -f /run/raced.*
	touch /run/racing
	while [ -e /run/racing ]; do
		try come with_rdma
		try go without_rdma
	done 2>/run/rdma.said &
	racer=$!
	n=0
	while [ $n -lt "$1" ]; do
		try there $2
		try back $3
		n=$((n + 1))
	done 2>/run/raced.said
	rm /run/racing
	wait $racer
	for what in come go there back; do
		echo "$what: $(busybox grep -c yes /run/raced.$what) succeeded, $(busybox grep -c no /run/raced.$what) refused"
		grep -q yes /run/raced.$what || return 1
	done
}

# try NAME COMMAND…: notes down whether it succeeds.
try() {
	noted=/run/raced.$1
	shift
	if "$@"; then echo yes; else echo no; fi >>"$noted"
}

# What the kernel says of what is refused then. Linux 7.2 refuses VFs with EINVAL when RDMA's representor of the uplink is still to
# come: mlx5_ib_set_vport_rep() does not find it.
races_messages() {
	tolerate 'mlx5_ib: probe of .* failed with error -[0-9]+$' 'failed to enable eswitch SRIOV \(-22\)$' \
		'mlx5_device_enable_sriov failed : -22$'
	# Linux 7.2's driver core: a driver that is registered while a device is being added is told to try later, "Device not ready to
	# probe"; what was written down of that is forgotten when the device is bound, for it was never on the list of those who wait.
	known_leak 64 10 device_set_deferred_probe_reason
}

# works_after_races: from any state, everything works; then all is as it was at first.
works_after_races() {
	check "RDMA's driver goes" until_true 10 without_rdma
	check "VFs go" numvfs "$pf0" 0
	check "the e-switch changes to legacy" eswitch "$pf0" legacy
	all_vfs
	into_switchdev
	check "RDMA's driver comes" with_rdma
	todo_before 7.2 "RDMA's representors do not come late" \
		check "the uplink and each VF have a port of its IB device" until_true 30 ib_reps "$pf0" "$total"
	check "the VFs go again" numvfs "$pf0" 0
	check "the driver unloads" unload
}
