# For scenarios that send bytes over TCP and want to see them arrive as they were.

seq 700000 | head -c 4194304 >/run/numbers

# copied ADDRESS: 4 MiB from the first port arrive at ADDRESS of the second one.
copied() {
	transfer peer "" "$1"
}

# copied_back ADDRESS: 4 MiB from the second port arrive at ADDRESS of the first one.
copied_back() {
	transfer "" peer "$1"
}

# transfer RECEIVER SENDER ADDRESS: each end is a port by the command that goes before what it runs, `peer` or none.
transfer() {
	rm -f /run/copied
	$1 busybox nc -l -p 4000 >/run/copied </dev/null &
	until_true 10 listening "$1"
	$2 bash -c "cat /run/numbers >/dev/tcp/$3/4000"
	wait $!
	cmp /run/numbers /run/copied
}

# listening END: whether something listens there.
listening() {
	$1 ss -Htln 'sport = :4000' | grep -q 4000
}
