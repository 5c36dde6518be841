use super::*;
use crate::kernel::Kernel;

fn config(command: Option<&str>) -> VmConfig {
    let kernel = Kernel { name: "k".into(), release: "7.2".into(), image: "/k".into(), modules: None };
    let mut config = VmConfig::new(kernel, "");
    config.command = command.map(|command| vec![command.to_owned()]);
    config
}

fn after(messages: &[Message]) -> State {
    let mut state = State::default();
    messages.iter().for_each(|message| state.take(message.clone(), Duration::from_secs(3)));
    state
}

/// How a run is judged whose QEMU ended with this console and log.
fn judged(state: &State, config: &VmConfig, success: bool, console: &str, log: &str) -> Ending {
    let dir = tempfile::tempdir().unwrap();
    let (console_log, qemu_log) = (dir.path().join("console"), dir.path().join("qemu"));
    fs::write(&console_log, console).unwrap();
    fs::write(&qemu_log, log).unwrap();
    state.ended(config, success, &qemu_log, &console_log)
}

#[test]
fn the_first_status_counts() {
    let state = after(&[Message::Ready, Message::Exit(3), Message::Exit(0)]);
    assert_eq!(judged(&state, &config(Some("x")), true, "", ""), Ending::Exited(3));
}

#[test]
fn a_panic_is_a_failure_that_quotes_the_kernel() {
    let console = "[ 3.0] Kernel panic - not syncing: sysrq triggered crash\r\n";
    let ending = judged(&after(&[Message::Ready]), &config(Some("x")), true, console, "");
    assert_eq!(
        ending,
        Ending::Failed("the guest's kernel died: Kernel panic - not syncing: sysrq triggered crash".into())
    );
}

#[test]
fn a_qemu_that_fails_is_quoted() {
    let log = "qemu-system-x86_64: -device igb2: 'igb2' is not a valid device model name\n";
    let Ending::Failed(why) = judged(&after(&[]), &config(None), false, "", log) else { panic!("not a failure") };
    assert!(why.ends_with("'igb2' is not a valid device model name"), "{why}");
}

#[test]
fn an_end_without_a_status_fails_a_command_and_ends_a_shell() {
    let ready = after(&[Message::Ready]);
    assert!(matches!(judged(&ready, &config(Some("x")), true, "", ""), Ending::Failed(_)));
    assert_eq!(judged(&ready, &config(None), true, "", ""), Ending::Exited(0));
    assert!(matches!(judged(&after(&[]), &config(None), true, "", ""), Ending::Failed(_)));
}

#[test]
fn what_init_could_only_say_on_the_console_is_passed_on() {
    let console = "[ 1.0] Run /init\r\nmlx5emu: no virtio port to report to\r\n[ 1.1] reboot: Power down\r\n";
    assert_eq!(
        judged(&after(&[]), &config(None), true, console, ""),
        Ending::Failed("no virtio port to report to".into())
    );
}

#[test]
fn a_timeout_is_not_a_failure_and_a_status_stops_the_clock() {
    let mut config = config(Some("x"));
    config.timeout = Some(Duration::from_secs(10));
    assert_eq!(after(&[Message::Ready]).overdue(&config, Duration::from_secs(9)), None);
    assert_eq!(after(&[Message::Ready]).overdue(&config, Duration::from_secs(11)), Some(Ending::TimedOut));
    let reported = after(&[Message::Ready, Message::Exit(0)]);
    assert_eq!(reported.overdue(&config, Duration::from_secs(11)), None);
    assert!(matches!(reported.overdue(&config, Duration::from_secs(3600)), Some(Ending::Failed(_))));
}

#[test]
fn a_guest_under_a_debugger_may_take_its_time_to_boot() {
    let mut config = config(Some("x"));
    let day = Duration::from_secs(86_400);
    assert!(matches!(State::default().overdue(&config, day), Some(Ending::Failed(_))));
    config.gdb = Some(1234);
    assert_eq!(State::default().overdue(&config, day), None);
}
