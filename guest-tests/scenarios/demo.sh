#!/bin/sh
# The demonstration's part in the guest: prints what the card and the driver made of each other, in a few lines. It is for
# people; scenarios are the tests. Exit status 1 if anything is not as it should be.
. "${0%/*}/lib/tap.sh" >/dev/null

bad=0
row() {
	printf '  %-22s %s\n' "$1" "$2"
}
wrong() {
	bad=1
	row "$1" "$2: NOT AS IT SHOULD BE"
}

driver_loaded || modprobe mlx5_core
row kernel "$(uname -r)"
for function in $(functions); do
	until_true 60 netdev "$function"
done
if ! two_ports; then
	wrong ports "no link"
	dmesg | grep mlx5 | tail -20
	exit 1
fi

# port NAMESPACE DEVICE
port() {
	run=${1:+ip netns exec $1}
	version=$($run ethtool -i "$2" | sed -n 's/^firmware-version: //p')
	bus=$($run ethtool -i "$2" | sed -n 's/^bus-info: //p')
	speed=$($run ethtool "$2" | sed -n 's/^[[:space:]]*Speed: //p')
	row "port $2" "$bus, firmware $version, link up, $speed"
}
port "" "$port0"
port peer "$port1"

# echo WHAT COMMAND…
echoes() {
	what=$1
	shift
	if answer=$(all_echoes 10 "$@" -i 0.1); then
		row "$what" "$(echo "$answer" | sed -n 's/^\(.* received\).*/\1/p'), $(echo "$answer" | sed -n 's/^rtt \(.*\) = /\1 /p')"
	else
		wrong "$what" "$answer"
	fi
}
echoes "ping port 0 -> 1" ping 192.0.2.2
echoes "ping port 1 -> 0" ip netns exec peer ping 192.0.2.1
echoes "ping6 port 0 -> 1" ping -6 2001:db8::2
echoes "ping6 port 1 -> 0" ip netns exec peer ping -6 2001:db8::1
one_namespace

n=0
for function in $(functions); do
	driver=$(pages_total "$function")
	held=$(card "pf$n/pages" | jq .held)
	if [ -n "$driver" ] && [ "$driver" -gt 0 ] && [ "$driver" = "$held" ]; then
		row "pages, pf$n" "$driver given, says the driver; $held held, says the card"
	else
		wrong "pages, pf$n" "${driver:-none} given, says the driver; ${held:-unknown} held, says the card"
	fi
	n=$((n + 1))
done
unload || wrong "driver" "does not unload"
n=0
for function in $(functions); do
	given=$(card "pf$n/pages" | jq .given)
	returned=$(card "pf$n/pages" | jq .returned)
	if [ -n "$given" ] && [ "$given" -gt 0 ] && [ "$given" = "$returned" ]; then
		row "after unload, pf$n" "$given given, $returned returned"
	else
		wrong "after unload, pf$n" "${given:-unknown} given, ${returned:-unknown} returned"
	fi
	n=$((n + 1))
done
complaints=$(bad_messages)
if [ -z "$complaints" ]; then
	row dmesg "clean: no warning from mlx5, PCI or VFIO"
else
	wrong dmesg "complaints"
	echo "$complaints"
fi
exit $bad
