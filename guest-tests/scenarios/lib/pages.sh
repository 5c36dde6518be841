# For scenarios of firmware pages: what the driver counts (debugfs) and what the card's books say, compared.

# begin MODE [PF…]: the driver is loaded anew and names pages by MODE (vhca_id, func_id, or any). Sets $pf0 and $pf1, the
# functions' PCI addresses, and $own, what the driver has given for pf0 itself. Skips where the kernel does not know MODE.
begin() {
	can_ask || skip_all "the card can't be asked"
	unload
	here
	remember_commands
	if load; then
		mode=$(card pf0/pages/mode | jq -r .)
		[ "$1" = any ] || [ "$mode" = "$1" ] || skip_all "the driver does not name pages by $1"
		point 0 "the driver loads"
		own=$(total)
	else
		point 1 "the driver loads"
	fi
}

# here: finds the functions.
here() {
	set -- $(functions)
	pf0=$1 pf1=${2:-}
}

# counter NAME [PF]: one of the driver's counters, of pf0 if no PCI address is given.
counter() {
	cat "/sys/kernel/debug/mlx5/${2:-$pf0}/pages/$1"
}

total() {
	counter fw_pages_total
}

vf_pages() {
	counter fw_pages_vfs
}

# book PATH: a number of pf0's book in the card.
book() {
	card "pf0/pages/$1" | jq .
}

is_total() {
	[ "$(total)" = "$1" ]
}

is_vf_pages() {
	[ "$(vf_pages)" = "$1" ]
}

# Whether nothing is on its way, and the driver counts what the card does: in all; and for VFs, less $1 pages that the driver
# does not know to be a VF's.
books_agree() {
	card pf0/pages >/run/pages
	jq -e '[.by_id[] | .asked, .recalled] | all(. == 0)' /run/pages &&
		[ "$(total)" = "$(jq .total /run/pages)" ] || return 1
	[ ! -e "/sys/kernel/debug/mlx5/$pf0/pages/fw_pages_vfs" ] ||
		[ "$(vf_pages)" = "$(jq ".by_type.vf.held - ${1:-0}" /run/pages)" ]
}

# agree WHEN [NONE]: one point: within seconds they agree.
agree() {
	check "driver and card agree on every page $1" until_true 20 books_agree "${2:-0}" || {
		say "driver: total $(total), VFs $(vf_pages 2>/dev/null)"
		say "card: $(jq -c '[.total, .by_type, .by_id]' /run/pages)"
	}
}

# asked_for WHOSE COUNT: an event asks for pages (fewer if negative), and within seconds the driver has acted.
asked_for() {
	wanted_total=$(($(total) + $2))
	check "an event for $1 about $2 pages" inject pages "$1" "$2"
	check "the driver acts on it" until_true 20 is_total $wanted_total
}

# vfs COUNT: so many VFs of pf0.
vfs() {
	echo "$1" >"/sys/bus/pci/devices/$pf0/sriov_numvfs"
}

# vfs_up COUNT: they have come, with their drivers, and all their pages were given.
vfs_up() {
	check "$1 VFs come" vfs "$1"
	n=0
	while [ $n -lt "$1" ]; do
		vf=$(readlink -f "/sys/bus/pci/devices/$pf0/virtfn$n")
		check "VF $n has a network device" until_true 60 netdev "${vf##*/}"
		n=$((n + 1))
	done
}

# vfs_down: they go within seconds: the driver does not wait two minutes for their pages.
vfs_down() {
	before=$(uptime_seconds)
	check "the VFs go" vfs 0
	took=$(($(uptime_seconds) - before))
	check "within seconds ($took)" test $took -lt $((20 * ${MLX5EMU_TIMEOUT_SCALE:-1}))
	same "no page of a VF is left with the driver" 0 "$(vf_pages)"
}

# remember_commands: what wire shows begins here.
remember_commands() {
	seen=$(emu commands --json --function pf0 2>/dev/null | tail -n 1 | jq .seq)
	seen=${seen:-0}
}

# wire FILTER: the page commands of pf0's driver since then, as JSON objects {op, op_mod, id, ec, count, status}; FILTER is jq's.
# If what came since then is no longer recorded, or the card is not to be asked, it prints a sentence that no check expects.
wire() {
	if ! emu commands --json --function pf0 >/run/commands 2>/run/commands.said; then
		cat /run/commands.said
	elif grep -q 'no longer recorded' /run/commands.said && [ "$(head -n 1 /run/commands | jq .seq)" -gt "$seen" ]; then
		echo "commands are no longer recorded"
	else
		recorded "$1"
	fi
}

# recorded FILTER: the same of what /run/commands has.
recorded() {
	jq -c "select(.seq > $seen) |
		select(.opcode_name == \"QUERY_PAGES\" or .opcode_name == \"MANAGE_PAGES\") |
		{op: .opcode_name, op_mod, id: (.fields.function_id // 0), ec: (.fields.embedded_cpu_function // 0),
		 count: (.fields.input_num_entries // 0), status} | $1" </run/commands
}

# wire_ids FILTER: the distinct ids in them, in order.
wire_ids() {
	wire "$1 | .id" | sort -u | sort -n | tr '\n' ' ' | sed 's/ $//'
}

# leave: the driver unloads, nothing is left with either side, every canary was whole.
leave() {
	check "the driver unloads" unload
	left_nothing
}

left_nothing() {
	card pf0/pages >/run/pages
	same "the card holds no page" 0 "$(jq .total /run/pages)"
	check "given is returned and forgotten, for every id" \
		jq -e '[.by_id[] | .given == .returned + .forgotten] | all' /run/pages
	same "nobody wrote to a page that the firmware had" 0 "$(jq .canaries.broken /run/pages)"
}

# pages_leak COUNT: what debug kernels, too, say of pages that the driver never got back, and of its notes of them.
pages_leak() {
	known_leak 96 "$1"
	# After the trace comes another one, of who mapped the page.
	tolerate 'DMA-API: pci [0-9a-f:.]+: device driver has pending DMA allocations while released from device' \
		'^\[ *[0-9.]+\]  [a-z0-9_]+\+0x[0-9a-f]+/0x[0-9a-f]+ \[mlx5_core\]'
}

# pages_under_another_key ID COUNT WHY: the driver unloads, but keeps COUNT pages under a key ID that means nothing to the firmware;
# then all begins anew.
pages_under_another_key() {
	remember_commands
	check "the driver unloads" unload
	tolerate 'MANAGE_PAGES\(0x108\)' 'failed reclaiming pages: err -22' "reclaim_pages err \(-22\) func_vhca_id=$1" \
		"FW pages counter is $2 after reclaiming all pages" 'page not found' 'WARNING: .*pagealloc'
	todo "$3" same "at the unload no id is named that the firmware does not know" 1 "$(wire_ids .)"
	same "the card has returned all pages" 0 "$(card pf0/pages/forgotten)"
	todo "Linux 7.2 leaks the pages under the other key" \
		same "the driver has found each of them" "" "$(dmesg | grep -o 'FW pages counter is .*')"
	restart
	# Three times: the driver was there before the scenario began, and has come twice since. kmemleak finds them all, or those of
	# some of the three.
	pages_leak $(($2 * 3))
}

# boot_pages_under_5: the firmware has said by mistake that the boot pages are function 5's (firmware.slips.boot_id = 5).
boot_pages_under_5() {
	begin vhca_id
	agree "after probe"
	same "boot pages are given by the id that the firmware said" 5 "$(wire_ids 'select(.op == "MANAGE_PAGES" and .id != 1)')"
	check "the function works" test -n "$(netdev "$pf0")"
	pages_under_another_key 0x5 64 "Linux 7.2 does not look for the key that it used"
}

# restart: after a driver that could not have its pages back: the card begins anew, and all is well again.
restart() {
	! driver_loaded || unload
	for function in $(functions); do
		echo 1 >"/sys/bus/pci/devices/$function/reset"
	done
	check "the driver loads again" load
	agree "after that"
	leave
}
