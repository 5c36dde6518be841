# What the scripts share. Sourced from the root of the tree.

say() {
	printf '%s\n' "$*" >&2
}

die() {
	say "${0##*/}: $*"
	exit 1
}

# build PROFILE-OPTIONS…: builds the command and sets $mlx5emu to it.
build() {
	command -v cargo >/dev/null || die "cargo is missing: install a Rust toolchain (https://rustup.rs)"
	command -v cc >/dev/null || die "cc is missing, and Rust needs it to link: apt install gcc libc6-dev"
	cargo build --quiet --package mlx5emu "$@" || die "the build failed"
	profile=debug
	case " $* " in *" --release "*) profile=release ;; esac
	target=${CARGO_TARGET_DIR:-target}
	case $target in /*) ;; *) target=$PWD/$target ;; esac
	mlx5emu=$target/$profile/mlx5emu
}

# workplace: makes $work, a directory that goes when the script ends, however it ends, and gives the cards of this script
# their own place in it, so that `ctl` finds them and no others.
workplace() {
	work=$(mktemp -d "${TMPDIR:-/tmp}/mlx5emu.XXXXXX")
	XDG_RUNTIME_DIR=$work/run
	export XDG_RUNTIME_DIR
	mkdir -m 700 "$XDG_RUNTIME_DIR" "$work/exchange"
	unset MLX5EMU_DIR
	answerer=
	trap 'leave_workplace' EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

leave_workplace() {
	[ -z "$answerer" ] || kill "$answerer" 2>/dev/null
	rm -rf "$work"
}

# answer_the_guest: answers what a guest asks of its card in the folder $work/exchange, in the background.
answer_the_guest() {
	(
		trap - EXIT HUP INT TERM
		set -f
		cd "$work/exchange" || exit
		while :; do
			if [ -e question ]; then
				read -r verb words <question || :
				rm -f question
				status=0
				answer "$verb" $words >answer.new 2>&1 </dev/null || status=$?
				echo $status >status
				mv answer.new answer
			fi
			sleep 0.1
		done
	) &
	answerer=$!
}

# answer VERB WORDS…: one answer. What a guest may ask for is listed here; none of it names a path of the host.
answer() {
	verb=$1
	shift
	case $verb in
	inspect) "$mlx5emu" ctl inspect --json -- "$@" ;;
	descriptors)
		server=$("$mlx5emu" ctl inspect --json server/pid) || return
		# The connection that asked is closed a moment later.
		sleep 0.3
		set +f
		set -- /proc/"$server"/fd/*
		set -f
		echo $#
		;;
	*) echo "the host does not know '$verb'" && return 2 ;;
	esac
}

# in_guest KERNEL SECONDS SCRIPT: runs a script of guest-tests/scenarios in a guest.
in_guest() {
	"$mlx5emu" vm --kernel "$1" --timeout "$(($2 * ${MLX5EMU_TIMEOUT_SCALE:-1}))" \
		--share "$PWD/guest-tests/scenarios:/scenarios:ro" --share "$work/exchange:/exchange" \
		-- env EXCHANGE=/exchange "MLX5EMU_TIMEOUT_SCALE=${MLX5EMU_TIMEOUT_SCALE:-1}" "/scenarios/$3" </dev/null
}
