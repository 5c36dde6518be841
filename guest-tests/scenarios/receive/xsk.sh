#!/bin/sh
# shows: AF_XDP sockets, copying and zero-copy, on striding and on legacy queues, with frames of 4 KiB, of 2 KiB, and of sizes and places that need KSM and KLM mappings: they receive and send, by the counters of both ports and by every byte that comes back
# tier: full
# timeout: 200
# broken: a socket that can't be bound, a frame in another frame's place, completions that do not come
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/xdp.sh"

command -v xdp-bench >/dev/null || skip_all "there is no xdp-bench in this guest"
start_xdp_ports
# Sockets with frames in any place have them in huge pages.
echo 32 >/proc/sys/vm/nr_hugepages

# bound ZC: a socket of the second port's queue is there, and is (1) or is not (0) zero-copy.
bound() {
	peer ss --xdp -e | tr -d '\n' | grep -q "$port1:q0.*zc:$1"
}

# totals RX|TX: what the socket got, or was told that it has sent.
totals() {
	sed -n "/^Totals/,/sock/s/^ *$1 *\([0-9]*\) pkts.*/\1/p" /run/xdp.log
}

# socket MODE COMMAND OPTIONS…: 40 frames through a socket of xdp-bench.
socket() {
	mode=$1
	shift
	statistics before
	begin xdp-bench "$@" -C "$mode" --poll "$port1"
	until_true 30 bound "$([ "$mode" = copy ] && echo 0 || echo 1)"
	point $? "$queues: xdp-bench $* -C $mode: a socket is bound"
	echo_requests "${size:-1000}"
	end
	point $? "it ends"
	statistics after
	same "the second port got 40 frames" 40 "$(grown second rx_packets_phy)"
	same "redirected to the socket" 40 "$(grown second "$([ "$mode" = copy ] && echo rx_xdp_redirect || echo rx_xsk_xdp_redirect)")"
	same "the socket got them" 40 "$(totals RX)"
}

drops() {
	socket "$@"
	same "the first port got nothing" 0 "$(grown first rx_packets_phy)"
}

sends_back() {
	socket "$@"
	[ "$1" = copy ] || same "the driver sent 40 frames for the socket" 40 "$(grown second tx_xsk_xmit)"
	same "the socket was told that 40 were sent" 40 "$(totals TX)"
	same "the second port sent 40 frames" 40 "$(grown second tx_packets_phy)"
	same "the first port got 40 frames" 40 "$(grown first rx_packets_phy)"
	check "they are the same, byte by byte" came_back
}

queues=striding
sends_back copy xsk-tx
drops zero-copy xsk-drop
size=1472 sends_back zero-copy xsk-tx
sends_back zero-copy xsk-tx --frame-size 2048
for frame in 4096 3072 2560; do
	sends_back zero-copy xsk-tx --unaligned --frame-size $frame
done
queues=legacy
check "legacy queues" on_both --set-priv-flags rx_striding_rq off
sends_back zero-copy xsk-tx
sends_back zero-copy xsk-tx --unaligned --frame-size 3072
check "striding queues" on_both --set-priv-flags rx_striding_rq on

# A socket that only sends. The program stays when it has sent that many.
statistics before
begin xdp-trafficgen xsk-udp --pkt-count 640 --pkt-size 500 --copy-mode zero-copy --dst-mac "$mac0" --src-mac "$mac1" "$port1"
point $? "xdp-trafficgen begins to send 640 frames"
sent_all() {
	statistics after
	[ "$(grown first rx_packets_phy)" -ge 640 ]
}
check "they arrive" until_true 30 sent_all
# More would come in this time.
sleep 1
end
point $? "it ends"
statistics after
same "the driver sent them for the socket" 640 "$(grown second tx_xsk_xmit)"
same "the second port sent 640 frames" 640 "$(grown second tx_packets_phy)"
same "the first port got 640 frames" 640 "$(grown first rx_packets_phy)"

until_true 10 no_program
check "without a socket, every echo comes back" all_echoes 10 ping -i 0.05 192.0.2.2
one_namespace
# Of the driver: KLMs are not its fastest way.
tolerate 'Expected slowdown with XSK frame size 2560'
check_dmesg
finish
