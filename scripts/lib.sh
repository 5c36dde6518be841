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
	build_with build --package mlx5emu "$@"
}

# build_with COMMAND OPTIONS…: the same with another command of cargo's, which builds more.
build_with() {
	command -v cargo >/dev/null || die "cargo is missing: install a Rust toolchain (https://rustup.rs)"
	command -v cc >/dev/null || die "cc is missing, and Rust needs it to link: apt install gcc libc6-dev"
	command=$1
	shift
	cargo "$command" --quiet "$@" || die "the build failed"
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
	mkdir -m 700 "$XDG_RUNTIME_DIR"
	unset MLX5EMU_DIR
	trap 'leave_workplace' EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

leave_workplace() {
	rm -rf "$work"
}

# in_guest KERNEL SECONDS SCRIPT: runs a script of guest-tests/scenarios in a guest.
in_guest() {
	# Lines "# card: …" of a script describe the card that it needs.
	sed -n 's/^# card: //p' "guest-tests/scenarios/$3" >"$work/card.toml"
	"$mlx5emu" vm --card "$work/card.toml" --kernel "$1" --timeout "$(($2 * ${MLX5EMU_TIMEOUT_SCALE:-1}))" \
		--share "$PWD/guest-tests/scenarios:/scenarios:ro" \
		-- env "MLX5EMU_TIMEOUT_SCALE=${MLX5EMU_TIMEOUT_SCALE:-1}" "/scenarios/$3" </dev/null
}
