# For scenarios with rules of tc flower; they source eswitch.sh, too.

# takes_rules DEVICE
takes_rules() {
	ip link set "$1" up && ethtool -K "$1" hw-tc-offload on && tc qdisc add dev "$1" ingress
}

# rule DEVICE PRIO PROTOCOL FLOWER…: in the card only.
rule() {
	device=$1 prio=$2 protocol=$3
	shift 3
	tc filter add dev "$device" ingress protocol "$protocol" prio "$prio" flower skip_sw "$@"
}

# no_rules DEVICE…
no_rules() {
	for device in "$@"; do
		tc filter del dev "$device" ingress
	done
}

# counted DEVICE PRIO: what the card has counted for a rule, as the driver tells it, a second or so later.
counted() {
	tc -j -s filter show dev "$1" ingress prio "$2" | jq '[.[] | .options.actions? // empty | .[0].stats.hw_packets // 0] | max // 0'
}

has_counted() {
	[ "$(counted "$1" "$2")" = "$3" ] || {
		echo "the driver tells $(counted "$1" "$2"), not $3"
		return 1
	}
}

# in_card REGEX: the hits of the rules in the card whose match is like that: tc -j may leave the hardware's share out.
in_card() {
	card eswitch/pf0/rules | jq "[.[] | select(.match | test(\"$1\")) | .hits] | add // 0"
}
