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
