# For scenarios with the driver's RDMA side; those with representors source eswitch.sh, too.

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

# ib_reps PF COUNT: its IB device has a port for the uplink and for each of COUNT VFs.
ib_reps() {
	ib_netdevs "$1" | sort >/run/ib
	{
		uplink "$1"
		n=0
		while [ $n -lt "$2" ]; do
			rep "$1" $n
			n=$((n + 1))
		done
	} | sort >/run/reps
	cmp /run/ib /run/reps || {
		rdma link show
		return 1
	}
}

# against COMMAND…: COMMAND, while RDMA's driver comes and goes. What is refused meanwhile is no failure.
against() {
	touch /run/racing
	while [ -e /run/racing ]; do
		with_rdma
		without_rdma
	done >/run/rdma.said 2>&1 &
	racer=$!
	"$@" >/run/raced.said 2>&1
	rm /run/racing
	wait $racer
	echo "refused: $(busybox wc -l </run/raced.said) of the one, $(busybox wc -l </run/rdma.said) of the other"
}

# What the kernel says of what is refused then.
races_messages() {
	tolerate "mlx5_ib: probe of .* failed with error -[0-9]+$"
}

# works_after_races: from any state, everything works; then all is as it was at first.
works_after_races() {
	check "RDMA's driver goes" until_true 10 without_rdma
	check "VFs go" numvfs "$pf0" 0
	check "the e-switch changes to legacy" eswitch "$pf0" legacy
	check "$total VFs come again" numvfs "$pf0" "$total"
	until_true 60 vfs_are_there "$pf0" "$total"
	check "the e-switch changes to switchdev again" eswitch "$pf0" switchdev
	check "each VF has a representor" until_true 30 reps_are_there "$pf0" "$total"
	check "RDMA's driver comes" with_rdma
	todo_before 7.2 "RDMA's representors do not come late" \
		check "the uplink and each VF have a port of its IB device" until_true 30 ib_reps "$pf0" "$total"
	check "the VFs go again" numvfs "$pf0" 0
	check "the driver unloads" unload
}
