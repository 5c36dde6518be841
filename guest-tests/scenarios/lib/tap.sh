# TAP 13 for scenarios, and what they all need of the card. A scenario sources this file, makes checks, ends with `finish`.
#
#   check "what must hold" COMMAND…    one test point: COMMAND succeeds; what it printed is shown if not
#   same "what" EXPECTED ACTUAL        one test point: the two are equal
#   say TEXT…                          a comment
#   todo WHY COMMAND…                  a check or same that is known to fail, and why; it is no failure, and told when it holds
#   todo_before VERSION WHY COMMAND…   the same on kernels older than that, 7.2 say; on others a check or same like any other
#   skip_all WHY                       the scenario cannot run here
#   finish                             prints the plan; exit status 1 if a point failed
#
# `emu` is the way to the card (emu --help); `card PATH` prints `emu inspect --json PATH`.

count=0
failed=0
echo "TAP version 13"

say() {
	printf '%s\n' "$*" | sed 's/^/# /'
}

point() {
	count=$((count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $count - $2${todo:+ # TODO $todo}"
	else
		[ -n "$todo" ] || failed=$((failed + 1))
		echo "not ok $count - $2${todo:+ # TODO $todo}"
	fi
}

todo=
todo() {
	todo=$1
	shift
	"$@"
	todo=
}

# since VERSION: the kernel is that one, 7.2 say, or a newer one.
since() {
	[ "$(printf '%s\n' "$1" "$(uname -r)" | sort -V | head -n 1)" = "$1" ]
}

todo_before() {
	if since "$1"; then
		shift 2
		"$@"
	else
		shift
		todo "$@"
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

# not COMMAND…: it fails.
not() {
	! "$@"
}

# Whole seconds since the guest started.
uptime_seconds() {
	read -r now rest </proc/uptime
	echo "${now%.*}"
}

# until_true SECONDS COMMAND…: waits until COMMAND succeeds; if it does not, tells what it said last. The limit is scaled like every other.
until_true() {
	deadline=$(($(uptime_seconds) + $1 * ${MLX5EMU_TIMEOUT_SCALE:-1}))
	shift
	while ! "$@" >/run/mlx5emu.until 2>&1; do
		[ "$(uptime_seconds)" -le $deadline ] || { cat /run/mlx5emu.until >&2; return 1; }
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
	ip link set "$port0" up && ip -n peer link set lo up && ip -n peer link set "$port1" up && both_up
}

# start_two_ports: the driver is there, and both ports work. The first point of most scenarios.
start_two_ports() {
	load && two_ports
	point $? "both ports come up"
}

# one_port N: in a machine with one port: the driver is there, and the port has the addresses of end N. Sets $port.
one_port() {
	load && port=$(netdev "$(functions | head -n 1)") || return 1
	ip addr replace "192.0.2.$1/24" dev "$port" && ip addr replace "2001:db8::$1/64" dev "$port" nodad && ip link set "$port" up
}

# vm NAME COMMAND…: COMMAND, which may be one of these functions, in another machine of the scenario (# vms: in its header).
vm() {
	vm=$1
	shift
	emu vm "$vm" -- sh -c 'MLX5EMU_TIMEOUT_SCALE=$1; shift; . "$0" >/dev/null; "$@"' \
		"${0%/*}/../lib/tap.sh" "${MLX5EMU_TIMEOUT_SCALE:-1}" "$@"
}

# b_anew: the second machine, whose kernel is not to be trusted any more, is as at first, without the driver.
b_anew() {
	check "the second machine is reset" emu vm b kill
	check "and boots again" emu vm b start
	check "its driver unloads" vm b unload
}

# What scenarios of several machines run in another one.

# device_id: of the only function.
device_id() {
	cat "/sys/bus/pci/devices/$(functions)/device"
}

# has_address MAC, has_carrier, no_carrier: of the only port.
has_address() {
	[ "$(cat "/sys/class/net/$(netdev "$(functions)")/address")" = "$1" ]
}

has_carrier() {
	carrier "" "$(netdev "$(functions)")"
}

no_carrier() {
	! has_carrier
}

# fifty_echoes HOST
fifty_echoes() {
	ping -n -c 50 -i 0.02 "$1" | grep ' 50 received'
}

# gives_vfs: both ports, and two VFs of the first for other machines; the second has an address.
gives_vfs() {
	load && two_ports || return 1
	set -- $(functions)
	echo 0 >"/sys/bus/pci/devices/$1/sriov_drivers_autoprobe" && echo 2 >"/sys/bus/pci/devices/$1/sriov_numvfs" &&
		ip link set "$port0" vf 1 mac 02:00:00:00:aa:01
}

# both_up: waits until both ports have a link.
both_up() {
	until_true 30 carrier "" "$port0" && until_true 30 carrier peer "$port1"
}

# peer COMMAND…: in the namespace of the second port.
peer() {
	ip netns exec peer "$@"
}

# counter NAME: one of the first port's statistics; peer_counter NAME: of the second one's.
counter() {
	ethtool -S "$port0" | sed -n "s/^ *$1: //p"
}

peer_counter() {
	peer ethtool -S "$port1" | sed -n "s/^ *$1: //p"
}

# carrier NAMESPACE DEVICE: whether the link is up.
carrier() {
	ip ${1:+-n "$1"} -j link show dev "$2" | jq -e '.[0].flags | index("LOWER_UP")'
}

# all_echoes COUNT COMMAND…: COMMAND is a ping; every one of COUNT echoes comes back, and once. Left to itself ping waits for the
# last ones little longer than for the others, and on a busy machine takes them for lost. With a deadline it goes on until it
# has COUNT, or a few more, in their order: the first ones, if none is lost.
all_echoes() {
	wanted=$1
	shift
	case " $* " in *" -f "*) all_of_a_flood "$@" && return || return 1 ;; esac
	answer=$("$@" -n -c "$wanted" -w "$((5 * ${MLX5EMU_TIMEOUT_SCALE:-1}))" 2>&1)
	printf '%s\n' "$answer" | tail -n 3
	printf '%s\n' "$answer" | sed -n 's/.* icmp_seq=\([0-9]*\) .*time=.*/\1/p' >/run/echoes
	came=$(busybox wc -l </run/echoes)
	[ "$came" -ge "$wanted" ] && [ "$(tr '\n' ' ' </run/echoes)" = "$(busybox seq -s ' ' 1 "$came") " ] || {
		echo "echoes of $wanted that came: $(tr '\n' ' ' </run/echoes)"
		return 1
	}
}

# all_of_a_flood COMMAND…: ping -f does not say which have come, so for the last ones the kernel is asked.
all_of_a_flood() {
	where=${*%%ping*}
	replies=$(echo_replies)
	answer=$("$@" -q -n -c "$wanted" 2>&1)
	printf '%s\n' "$answer"
	case $answer in
	*duplicates*) return 1 ;;
	*" $wanted received"*) ;;
	*) until_true 5 all_came && echo "the last ones came late" ;;
	esac
}

# The echo replies that the kernel has counted, where $where runs commands.
echo_replies() {
	$where cat /proc/net/snmp /proc/net/snmp6 | busybox awk '
		$1 == "Icmp:" && !column { for (i = 2; i <= NF; i++) if ($i == "InEchoReps") column = i; next }
		$1 == "Icmp:" { sum += $column }
		$1 == "Icmp6InEchoReplies" { sum += $2 }
		END { print sum }'
}

all_came() {
	[ $(($(echo_replies) - replies)) = "$wanted" ]
}

# Undoes two_ports. A physical device returns by itself when its namespace goes, a moment later.
one_namespace() {
	ip netns del peer
	until_true 30 ip link show dev "$port1"
}

# What the kernel must and may say in this scenario: one regular expression a line. What may be said is written down, too,
# for who looks at the kernel's log when the scenario has ended.
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

# tolerate REGEX…: the kernel may say these. One that matches what a warning says goes for its trace, too.
tolerate() {
	for regex in "$@"; do
		tolerated="$tolerated
$regex"
		printf '%s\n' "$regex" >>/run/mlx5emu.tolerated
	done
}

# known_leak SIZE COUNT [REGEX]: the kernel is known to lose so many objects of that size in this scenario, at most, and something
# in kmemleak's report of each is like REGEX, which has no space. It reports when the driver is gone, and then knows the driver's
# functions by address only; those of the kernel proper by name.
known_leak() {
	echo "$1 $2 ${3:-.}" >>/run/mlx5emu.known_leaks
}

# messages [LEVELS]: the kernel's log without the traces of tolerated warnings; of some levels only (warn|err…). A trace is one
# message: all of it is tolerated with its line "WARNING: …", or with the words of WARN() before that, and with no other
# line. Where it begins has a level of its own, so levels are looked at last.
messages() {
	printf '%s\n' "$tolerated" >/run/mlx5emu.regexes
	dmesg -x | busybox awk -v levels="${1:-}" '
		FILENAME == "/run/mlx5emu.regexes" { if ($0 != "") regex[++n] = $0; next }
		/^[a-z]+ *:[a-z]+ *: / { of_levels = levels == "" || $0 ~ "^[a-z]+ *:(" levels ") *: "; sub(/^[a-z]+ *:[a-z]+ *: /, "") }
		/-\[ cut here \]-/ { printf "%s", held; held = ""; begun = 1; skip = fits = 0 }
		begun {
			if (of_levels) held = held $0 "\n"
			for (i = 1; i <= n; i++) if ($0 ~ regex[i]) fits = 1
			if (/\] WARNING: / && fits) { skip = 1; held = "" }
			if (/\] WARNING: |BUG|---\[ end trace /) { printf "%s", held; held = ""; begun = 0 }
			next
		}
		skip { if (/---\[ end trace /) skip = 0; next }
		of_levels { print }
		END { printf "%s", held }
	' /run/mlx5emu.regexes -
}

# Kernel messages at warning level or above that mlx5, PCI or VFIO wrote, and every oops whoever wrote it.
bad_messages() {
	messages | grep -E '\] (RIP|Call Trace|ref_tracker): ?|WARNING:|BUG:|FW pages counter is|unreferenced object 0x' | grep -Ev "$tolerated"
	messages 'emerg|alert|crit|err|warn' | grep -E 'mlx5|pci|PCI|vfio|VFIO|infiniband' | grep -Ev "Modules linked in:|$tolerated"
}

quiet() {
	shown=$(bad_messages)
	[ -z "$shown" ] || { printf '%s\n' "$shown"; return 1; }
}

said() {
	dmesg | grep -E "$1"
}

# said_times N REGEX: the kernel has said this as often.
said_times() {
	[ "$(dmesg | grep -Ec "$2")" = "$1" ]
}

# Lines "# dmesg: REGEX" and "# dmesg: REGEX xN" of the scenario's header: what the kernel must say.
header_dmesg() {
	sed -n '/^[^#]/q; s/^# dmesg: //p' "$0"
}
while read -r regex; do
	[ -z "$regex" ] || tolerate "$(printf '%s\n' "$regex" | sed 's/ x[0-9][0-9]*$//')"
done <<-EOF
$(header_dmesg)
EOF

# The last point of every scenario.
check_dmesg() {
	while read -r regex; do
		count_wanted=$(printf '%s\n' "$regex" | sed -n 's/.* x\([0-9][0-9]*\)$/\1/p')
		regex=$(printf '%s\n' "$regex" | sed 's/ x[0-9][0-9]*$//')
		if [ -n "$count_wanted" ]; then
			check "the kernel says '$regex' $count_wanted times" said_times "$count_wanted" "$regex"
		elif [ -n "$regex" ]; then
			check "the kernel says '$regex'" said "$regex"
		fi
	done <<-EOF
	$(header_dmesg)
	EOF
	while read -r regex; do
		[ -z "$regex" ] || check "the kernel says '$regex'" said "$regex"
	done <<-EOF
	$expected
	EOF
	check "the kernel has nothing to complain of" quiet
}

# card PATH: the card's own state, as JSON.
card() {
	emu inspect --json "$1"
}

# inject EVENT…: brings an event about in the card (emu inject --help).
inject() {
	emu inject -- "$@"
}

# fault RULE: something goes wrong in the card from now on (emu fault --help).
fault() {
	emu fault add "$1" >/dev/null
}

# held NAME: waits until the fault rule NAME holds something, or has acted if it does not hold.
held() {
	emu wait --timeout "$((60 * ${MLX5EMU_TIMEOUT_SCALE:-1}))" "$1" >/dev/null
}

# release NAME: what the fault rule NAME holds goes on.
release() {
	emu release "$1" >/dev/null
}

# no_faults: takes every fault rule away.
no_faults() {
	emu fault clear >/dev/null
}

# Files that the card's process has open.
descriptors() {
	card server/descriptors
}

# Whether the card can be asked: not when a kernel is tried in another way than with `mlx5emu vm` or `test`.
can_ask() {
	[ -e /dev/virtio-ports/mlx5emu.control ]
}

# capture AT: begins a capture into /run/capture.pcapng; `captured` ends it and prints what it was.
capture() {
	rm -f /run/capture.pcapng
	emu capture "$1" -o /run/capture.pcapng 2>/run/capture.log &
	capturing=$!
	until_true 30 grep -q capturing /run/capture.log
}

captured() {
	kill -TERM $capturing
	wait $capturing || return 1
	cat /run/capture.log
}
