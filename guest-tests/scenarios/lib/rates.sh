# For scenarios that look how fast something is sent: seconds of TCP.

# serve NAMESPACE [PORT]: somebody who takes what comes.
serve() {
	${1:+ip netns exec "$1"} timeout 60 iperf3 -s -1 -p "$2" >/dev/null 2>&1 &
	until_true 10 ${1:+ip netns exec "$1"} sh -c "ss -Htln 'sport = :$2' | grep -q ."
}

# send NAMESPACE ADDRESS PORT: three seconds of TCP; the Mbit/s that came go to /run/rate.NAMESPACE.
send() {
	ip netns exec "$1" iperf3 -J -c "$2" -p "$3" -t 3 -O 1 | jq '.end.sum_received.bits_per_second / 1000000 | floor' >"/run/rate.$1"
}

rate() {
	cat "/run/rate.$1"
}

# between LOW HIGH VALUE
between() {
	[ "$3" -ge "$1" ] && [ "$3" -le "$2" ]
}
