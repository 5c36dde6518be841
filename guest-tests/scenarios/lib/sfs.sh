# For scenarios with SFs; they source vfs.sh and eswitch.sh, too. An SF is named by the number that its user gives it (sfnum).

# with_sfs COUNT: sets $pf0 and $pf1, the PFs; skips if the first has fewer than COUNT SFs.
with_sfs() {
	wanted=$1
	set -- $(functions)
	pf0=$1 pf1=$2
	has=$(devlink -j resource show "pci/$pf0" | jq '[.. | objects | select(.name? == "max_local_SFs") | .size][0] // 0')
	[ "${has:-0}" -ge "$wanted" ] || skip_all "the first PF has fewer than $wanted SFs"
}

# sf_port PF SFNUM: its devlink port.
sf_port() {
	devlink -j port show | jq -r --arg pf "pci/$1/" --argjson sfnum "$2" \
		'.port | to_entries[] | select((.key | startswith($pf)) and .value.flavour == "pcisf" and .value.sfnum == $sfnum) | .key' |
		grep .
}

# sf_add PF SFNUM
sf_add() {
	devlink port add "pci/$1" flavour pcisf pfnum "${1##*.}" sfnum "$2"
}

# sf_set PF SFNUM SETTING…: of its function.
sf_set() {
	port=$(sf_port "$1" "$2") || return 1
	shift 2
	devlink port function set "$port" "$@"
}

# sf_state PF SFNUM: "active attached", for example.
sf_state() {
	devlink -j port show "$(sf_port "$1" "$2")" | jq -r '.port[].function | "\(.state) \(.opstate)"'
}

sf_is() {
	[ "$(sf_state "$1" "$2")" = "$3" ]
}

# sf_del PF SFNUM
sf_del() {
	port=$(sf_port "$1" "$2") && devlink port del "$port"
}

# sf_rep PF SFNUM: its representor.
sf_rep() {
	port_of "$1" "pf${1##*.}sf$2"
}

# sf_device SFNUM: the auxiliary device that the driver of SFs binds to.
sf_device() {
	for device in /sys/bus/auxiliary/devices/mlx5_core.sf.*; do
		[ "$(cat "$device/sfnum" 2>/dev/null)" = "$1" ] || continue
		echo "${device##*/}"
		return 0
	done
	return 1
}

# sf_begin SFNUM [PARAMETER…]: its driver begins, for Ethernet unless other parameters are named (enable_eth, enable_rdma, …);
# before it waits to be told what for.
sf_begin() {
	device=auxiliary/$(sf_device "$1") || return 1
	shift
	for parameter in "${@:-enable_eth}"; do
		devlink dev param set "$device" name "$parameter" value true cmode driverinit || return 1
	done
	devlink dev reload "$device"
}

# sf_netdev SFNUM: its network device.
sf_netdev() {
	device=$(sf_device "$1") || return 1
	for name in "/sys/bus/auxiliary/devices/$device/net"/*; do
		[ -e "$name" ] && echo "${name##*/}" && return 0
	done
	return 1
}

# sf_up PF SFNUM MAC: an SF with a network device. Its number is free again a moment after an SF that had it has gone. Each of its
# steps has $soon seconds (20 if it is not set).
sf_up() {
	until_true 20 sf_add "$1" "$2" && sf_set "$1" "$2" hw_addr "$3" && sf_set "$1" "$2" state active || return 1
	until_true "${soon:-20}" sf_device "$2" && until_true "${soon:-20}" sf_is "$1" "$2" "active attached" || return 1
	sf_begin "$2" && until_true "${soon:-20}" sf_netdev "$2"
}

# sf_pages PF: the pages that its driver has given for SFs.
sf_pages() {
	cat "/sys/kernel/debug/mlx5/$1/pages/fw_pages_sfs"
}

has_sf_pages() {
	[ "$(sf_pages "$1")" = "$2" ]
}

# What the card says that it holds for the SFs of pf0, in all.
held_for_sfs() {
	card pf0/pages/by_type/sf/held
}

# sf_books_agree: with lib/pages.sh: driver and card agree on every page, and on those of SFs.
sf_books_agree() {
	books_agree && has_sf_pages "$pf0" "$(jq .by_type.sf.held /run/pages)"
}

# agree_sf WHEN: one point: within seconds they do.
agree_sf() {
	check "driver and card agree on every page $1" until_true 20 sf_books_agree || say "$(sf_pages "$pf0") in $(jq -c '[.total, .by_type, .by_id]' /run/pages)"
}

# two_sfs: with lib/pages.sh: SFs 1 and 2 in switchdev mode. Sets $own, the driver's pages before they came.
two_sfs() {
	with_sfs 2
	switchdev_messages
	check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
	own=$(total)
	check "an SF comes" sf_up "$pf0" 1 02:00:00:00:00:11
	check "and another" sf_up "$pf0" 2 02:00:00:00:00:12
	agree_sf "with SFs"
}
