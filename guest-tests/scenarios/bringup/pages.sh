#!/bin/sh
# shows: the driver and the card agree on every page: the driver's count is the card's, and after unload all have come back
# tier: ci
# timeout: 180
# broken: a leaked page ("FW pages counter is … on teardown"), a page freed while the firmware has it, an object left alive
. "${0%/*}/../lib/tap.sh"

driver_loaded || modprobe mlx5_core
n=0
for function in $(functions); do
	until_true 60 netdev "$function"
	total=$(pages_total "$function")
	check "$function has been given pages ($total)" test "${total:-0}" -gt 0
	if can_ask; then
		card "pf$n/pages" >/run/pages
		same "the card holds as many for pf$n" "$total" "$(jq .held /run/pages)"
		# The three ways in which pages are asked for have all been used.
		check "boot, init and event pages have been given to pf$n" jq -e '.held >= (.counts | add) and (.counts | all(. > 0))' /run/pages
	fi
	n=$((n + 1))
done
check "the driver unloads" unload
n=0
for function in $(functions); do
	if can_ask; then
		card "pf$n" >/run/function
		given=$(jq .pages.given /run/function)
		check "pages were given to pf$n ($given)" test "${given:-0}" -gt 0
		same "all pages of pf$n came back" "$given" "$(jq .pages.returned /run/function)"
		same "pf$n holds no page" 0 "$(jq .pages.held /run/function)"
		check "no object of pf$n is left alive" jq -e '[.objects | .. | numbers] | add // 0 | . == 0' /run/function
		check "no object of pf$n was left at teardown" jq -e '[.left_at_teardown | .. | numbers] | add // 0 | . == 0' /run/function
	fi
	n=$((n + 1))
done
check "the driver loads again" load
check_dmesg
finish
