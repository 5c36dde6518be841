# For scenarios of an embedded CPU that manages the e-switch of a host, with all that they stand on.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/pages.sh"
. "${0%/*}/../lib/eswitch.sh"
. "${0%/*}/../lib/rdma.sh"

# begin_ecpf COUNT: the driver is there; sets $pf0 and $pf1, $own, the pages that it has given for pf0, and $possible, the VFs that
# the host of pf0 can have. The scenario changes to switchdev mode COUNT times: esw_create_offloads_acl_tables makes the ingress
# ACL of the manager's vport, and so does whoever enables that vport, which is done for embedded CPUs only, so that each time the
# first modify header and its rule are forgotten. Their sizes are what kmemleak says of struct mlx5_modify_hdr and struct
# mlx5_flow_handle in the debug kernel.
begin_ecpf() {
	known_leak 192 "$1"
	known_leak 16 "$1"
	can_ask || skip_all "the card can't be asked"
	load
	here
	switchdev_messages
	own=$(total)
	possible=$(emu inspect --json functions | jq '[keys[] | select(startswith("pf0vf"))] | length')
}

# host_vfs COUNT: the host of pf0 has so many VFs from now on.
host_vfs() {
	inject host-functions pf0 "$1"
}

# host_ports FLAVOUR COUNT: pf0 has so many devlink ports of a host, of that flavour, each with a representor.
host_ports() {
	[ "$(devlink -j port show | jq --arg pf "pci/$pf0/" --arg flavour "$1" \
		'[.port | to_entries[] | select((.key | startswith($pf)) and .value.flavour == $flavour and .value.external and (.value.netdev // "") != "")] | length')" = "$2" ]
}

# has_host COUNT: the host's PF has a representor, and so has each of COUNT VFs.
has_host() {
	host_ports pcipf 1 && host_ports pcivf "$1"
}

# host_books WHAT FUNCTION…: the driver's counter fw_pages_WHAT is what the card holds for these functions.
host_books() {
	counted=$(counter "fw_pages_$1")
	shift
	[ "$counted" = "$(for function in "$@"; do card "$function/pages/held" || echo '"?"'; done | jq -s add)" ]
}

# host_vf_names: pf0vf0 …, all that the host can have.
host_vf_names() {
	n=0
	while [ $n -lt "$possible" ]; do
		echo "pf0vf$n"
		n=$((n + 1))
	done
}
