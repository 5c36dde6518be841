# For scenarios that break queues and watch the driver's reporters. They start with `reporters`.

# reporters: who has the tx and rx reporters of the first port ($handle), and its PCI address ($function).
reporters() {
	set -- $(functions)
	function=$1
	handle=$(devlink -j health show | jq -r '.health | to_entries[] | select(any(.value[]; .reporter == "tx")) | .key' | head -n 1)
	say "the queues' reporters belong to $handle"
}

# command HEX: gives the firmware a command by hand; fails when the firmware refuses it.
command() {
	dir=/sys/kernel/debug/mlx5/$function/cmd
	printf '%s' "$1" | busybox xxd -r -p >/run/command || return 1
	echo 272 >$dir/out_len && cat /run/command >$dir/in && echo go >$dir/run
}

# zeros COUNT: hexadecimal digits of so many bytes.
zeros() {
	printf "%0$(($1 * 2))d" 0
}

# break_sq SQN: MODIFY_SQ from RDY to ERR. What the driver posts next is flushed.
break_sq() {
	command "09050000 00000000 $(printf '1%07x' "$1") $(zeros 20) 00300000 $(zeros 236)"
}

# grew NAME VALUE: one of the first port's statistics is larger than it was.
grew() {
	[ "$(counter "$1")" -gt "$2" ]
}

# health REPORTER FIELD
health() {
	devlink -j health show "$handle" reporter "$1" | jq -r ".health[][] | .$2"
}

both_ways() {
	all_echoes 5 ping -i 0.1 192.0.2.2 && all_echoes 5 peer ping -i 0.1 192.0.2.1
}
