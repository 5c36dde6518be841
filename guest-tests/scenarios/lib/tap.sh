# TAP 13 for scenarios, and what they all need of the card. A scenario sources this file, makes checks, ends with `finish`.
#
#   check "what must hold" COMMAND…    one test point: COMMAND succeeds; what it printed is shown if not
#   same "what" EXPECTED ACTUAL        one test point: the two are equal
#   say TEXT…                          a comment
#   skip_all WHY                       the scenario cannot run here
#   finish                             prints the plan; exit status 1 if a point failed
#
# $EXCHANGE, when the host shows a folder there, lets a scenario ask the card: `card PATH` prints `ctl inspect --json PATH`,
# and `descriptors` the number of files that the card's process has open.

count=0
failed=0
echo "TAP version 13"

say() {
	printf '%s\n' "$*" | sed 's/^/# /'
}

point() {
	count=$((count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $count - $2"
	else
		failed=$((failed + 1))
		echo "not ok $count - $2"
	fi
}

check() {
	what=$1
	shift
	shown=$("$@" 2>&1)
	status=$?
	point $status "$what"
	if [ $status != 0 ]; then
		say "'$*' ended with $status:"
		say "$shown"
	fi
	return $status
}

same() {
	if [ "$2" = "$3" ]; then
		point 0 "$1"
	else
		point 1 "$1"
		say "expected '$2', got '$3'"
		return 1
	fi
}

skip_all() {
	echo "1..0 # SKIP $*"
	exit 0
}

finish() {
	echo "1..$count"
	[ $failed = 0 ] || exit 1
	exit 0
}

# Whole seconds since the guest started.
uptime_seconds() {
	read -r now rest </proc/uptime
	echo "${now%.*}"
}

# until_true SECONDS COMMAND…: waits until COMMAND succeeds. The limit is scaled like every other.
until_true() {
	deadline=$(($(uptime_seconds) + $1 * ${MLX5EMU_TIMEOUT_SCALE:-1}))
	shift
	while ! "$@" >/dev/null 2>&1; do
		[ "$(uptime_seconds)" -le $deadline ] || return 1
		sleep 0.1
	done
}

# The card's functions in order, as PCI addresses.
functions() {
	for device in /sys/bus/pci/devices/*; do
		[ "$(cat "$device/vendor")" = 0x15b3 ] && echo "${device##*/}"
	done
}

# The network device of a PCI function; nothing and failure when it has none.
netdev() {
	for dir in "/sys/bus/pci/devices/$1/net"/*; do
		[ -e "$dir" ] && echo "${dir##*/}" && return 0
	done
	return 1
}

# The pages that the driver counts as given to the firmware of a PCI function.
pages_total() {
	cat "/sys/kernel/debug/mlx5/$1/pages/fw_pages_total"
}

driver_loaded() {
	[ -d /sys/module/mlx5_core ]
}

# unload: takes the driver and what sits on it away.
unload() {
	modprobe -r mlx5_ib 2>/dev/null
	modprobe -r mlx5_core
}

# load: loads the driver and waits for a network device on every function.
load() {
	modprobe mlx5_core || return 1
	for function in $(functions); do
		until_true 60 netdev "$function" || return 1
	done
}

# Gives both ports addresses, the second one in a network namespace of its own, so that nothing but the wire joins them.
# Sets $port0 and $port1.
two_ports() {
	set -- $(functions)
	port0=$(netdev "$1") && port1=$(netdev "$2") || return 1
	ip netns del peer 2>/dev/null
	ip netns add peer && ip link set "$port1" netns peer || return 1
	# Addresses are ready at once: nothing else is on this wire.
	ip addr replace 192.0.2.1/24 dev "$port0" && ip addr replace 2001:db8::1/64 dev "$port0" nodad || return 1
	ip -n peer addr replace 192.0.2.2/24 dev "$port1" && ip -n peer addr replace 2001:db8::2/64 dev "$port1" nodad || return 1
	ip link set "$port0" up && ip -n peer link set lo up && ip -n peer link set "$port1" up || return 1
	until_true 30 carrier "" "$port0" && until_true 30 carrier peer "$port1"
}

# carrier NAMESPACE DEVICE: whether the link is up.
carrier() {
	ip ${1:+-n "$1"} -j link show dev "$2" | jq -e '.[0].flags | index("LOWER_UP")'
}

# all_echoes COUNT COMMAND…: COMMAND is a ping; every one of COUNT echoes comes back, and once.
all_echoes() {
	wanted=$1
	shift
	answer=$("$@" -q -n -c "$wanted" -W 5 2>&1)
	printf '%s\n' "$answer"
	case $answer in
	*duplicates*) return 1 ;;
	*" $wanted received"*) ;;
	*) return 1 ;;
	esac
}

# Undoes two_ports. A physical device returns by itself when its namespace goes, a moment later.
one_namespace() {
	ip netns del peer
	until_true 30 ip link show dev "$port1"
}

# What the kernel must and may say in this scenario: one regular expression a line.
expected=
tolerated='^$'

# expect REGEX…: the kernel must have said each of these by the time of check_dmesg.
expect() {
	for regex in "$@"; do
		expected="$expected$regex
"
		tolerate "$regex"
	done
}

# tolerate REGEX…: the kernel may say these.
tolerate() {
	for regex in "$@"; do
		tolerated="$tolerated
$regex"
	done
}

# Kernel messages at warning level or above that mlx5, PCI or VFIO wrote, and every oops whoever wrote it.
bad_messages() {
	dmesg --level emerg,alert,crit,err,warn | grep -E 'mlx5|pci|PCI|vfio|VFIO|infiniband' | grep -Ev "$tolerated"
	dmesg | grep -E '\] (RIP|Call Trace|ref_tracker): ?|WARNING:|BUG:|FW pages counter is|unreferenced object 0x'
}

quiet() {
	shown=$(bad_messages)
	[ -z "$shown" ] || { printf '%s\n' "$shown"; return 1; }
}

said() {
	dmesg | grep -E "$1"
}

# The last point of every scenario.
check_dmesg() {
	while read -r regex; do
		[ -z "$regex" ] || check "the kernel says '$regex'" said "$regex"
	done <<-EOF
	$expected
	EOF
	check "the kernel has nothing to complain of" quiet
}

# ask WORDS…: has the host do something (scripts/lib.sh: answer_the_guest) and prints what that printed; fails when it
# failed, or the host does not answer.
ask() {
	[ -d "${EXCHANGE:-/nonexistent}" ] || return 1
	rm -f "$EXCHANGE/answer"
	echo "$*" >"$EXCHANGE/question.new" && mv "$EXCHANGE/question.new" "$EXCHANGE/question"
	until_true 30 test -e "$EXCHANGE/answer" || return 1
	cat "$EXCHANGE/answer"
	return "$(cat "$EXCHANGE/status")"
}

# card PATH: the card's own state, as JSON.
card() {
	ask inspect "$1"
}

# Files that the card's process has open.
descriptors() {
	ask descriptors
}

can_ask() {
	[ -d "${EXCHANGE:-/nonexistent}" ]
}
