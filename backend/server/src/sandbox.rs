//! What a running card gives up once its sockets are open: capabilities, the file system, and the system calls that no
//! card needs.
//!
//! Everything that guests, clients and wires send is handled by threads that are confined here first and inherit it. They
//! need open descriptors, shared memory and unix sockets that exist; nothing else. Each part is best effort: where the
//! kernel lacks it, one warning says so and the others still hold.

use std::collections::BTreeMap;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// The newest rules that are asked for; an older kernel enforces those that it knows.
const NEWEST: ABI = ABI::V6;

/// Confines the calling thread, and those that it starts from now on. Files below `dir` may still be removed there: the
/// sockets, at the end.
pub(crate) fn confine(dir: &Path) {
    let files = restrict_files(Some(dir));
    report([("capabilities", drop_capabilities()), ("landlock", files), ("seccomp", filter_calls(None))]);
}

/// Confines the thread of a wire to the outside: as [`confine`], without any file, and it may connect to a unix socket if
/// that is how it finds its other end.
pub(crate) fn confine_wire(connects: bool) {
    let calls = filter_calls(connects.then_some(libc::SYS_connect));
    report([("capabilities", drop_capabilities()), ("landlock", restrict_files(None)), ("seccomp", calls)]);
}

fn report(parts: [(&str, Result<(), String>); 3]) {
    for (what, outcome) in parts {
        if let Err(why) = outcome {
            log::warn!("{what}: {why}: the card runs less confined than it could");
        }
    }
}

fn drop_capabilities() -> Result<(), String> {
    // The bounding set can only be emptied by those who have CAP_SETPCAP; for others, nothing can be gained anyway.
    if caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SETPCAP).unwrap_or(false) {
        caps::clear(None, caps::CapSet::Bounding).map_err(|e| e.to_string())?;
    }
    for set in [caps::CapSet::Ambient, caps::CapSet::Inheritable, caps::CapSet::Effective, caps::CapSet::Permitted] {
        caps::clear(None, set).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn restrict_files(dir: Option<&Path>) -> Result<(), String> {
    let status = rules(dir).map_err(|e| e.to_string())?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err("this kernel does not have it (5.13 and CONFIG_SECURITY_LANDLOCK)".into()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

fn rules(dir: Option<&Path>) -> Result<landlock::RestrictionStatus, Box<dyn std::error::Error>> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    // Connecting to a socket by its path is none of these accesses.
    let ruleset = match dir {
        Some(dir) => ruleset.add_rule(PathBeneath::new(PathFd::new(dir)?, AccessFs::RemoveFile))?,
        None => ruleset,
    };
    Ok(ruleset.restrict_self()?)
}

/// System calls that a card never makes and that have been a way out of many a process.
const FORBIDDEN: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_personality,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_mknodat,
    libc::SYS_listen,
    libc::SYS_connect,
    libc::SYS_bind,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
];

/// `except` is allowed all the same.
fn filter_calls(except: Option<libc::c_long>) -> Result<(), String> {
    let program = program(except).map_err(|e| e.to_string())?;
    seccompiler::apply_filter(&program).map_err(|e| e.to_string())
}

fn program(except: Option<libc::c_long>) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        FORBIDDEN.iter().filter(|call| Some(**call) != except).map(|call| (*call, Vec::new())).collect();
    // Sockets of any kind but unix: everything that is needed of those is open.
    let domain = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?;
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![domain])?]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind::PermissionDenied;

    /// Confinement cannot be undone, so each look at it takes a thread.
    fn confined<R: Send + 'static>(look: impl FnOnce(&Path) -> R + Send + 'static) -> R {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("sock"), "").unwrap();
        let path = dir.path().to_owned();
        std::thread::spawn(move || {
            confine(&path);
            look(&path)
        })
        .join()
        .unwrap()
    }

    #[test]
    fn a_confined_thread_cannot_execute_connect_or_open_sockets_to_the_world() {
        let kinds = confined(|_| {
            let exec = std::process::Command::new("/bin/true").spawn().map(|_| ()).unwrap_err().kind();
            let net = std::net::UdpSocket::bind("127.0.0.1:0").map(|_| ()).unwrap_err().kind();
            let connect = std::os::unix::net::UnixStream::connect("/nonexistent").map(|_| ()).unwrap_err().kind();
            [exec, net, connect]
        });
        assert_eq!(kinds, [PermissionDenied; 3]);
    }

    #[test]
    fn a_wires_thread_connects_to_unix_sockets_if_it_must_and_does_nothing_else() {
        for connects in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("sock");
            let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let (connected, exec, bound) = std::thread::spawn(move || {
                confine_wire(connects);
                let exec = std::process::Command::new("/bin/true").spawn().is_ok();
                let bound = std::os::unix::net::UnixListener::bind(path.with_file_name("new")).is_ok();
                (std::os::unix::net::UnixStream::connect(&path).is_ok(), exec, bound)
            })
            .join()
            .unwrap();
            assert_eq!((connected, exec, bound), (connects, false, false));
        }
    }

    #[test]
    fn a_confined_thread_has_no_capability_and_can_do_its_work() {
        let (capabilities, removed, spawned) = confined(|dir| {
            let left = caps::read(None, caps::CapSet::Effective).unwrap().len();
            let spawned = std::thread::spawn(|| 7).join().unwrap();
            (left, std::fs::remove_file(dir.join("sock")).is_ok(), spawned)
        });
        assert_eq!((capabilities, removed, spawned), (0, true, 7));
    }

    #[test]
    fn files_are_out_of_reach_where_the_kernel_has_landlock() {
        let (enforced, opened) = confined(|dir| {
            let enforced = rules(Some(dir)).is_ok_and(|s| s.ruleset != RulesetStatus::NotEnforced);
            (enforced, std::fs::File::open("/etc/passwd").is_ok() || std::fs::write(dir.join("new"), "").is_ok())
        });
        assert!(!(enforced && opened));
    }
}
