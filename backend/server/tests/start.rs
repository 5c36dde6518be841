//! What can go wrong before a card runs, and what is left of it afterwards.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use mlx5emu_config::{Card, Wire};
use mlx5emu_server::{StartError, StartOptions, start};

fn error(card: &Card, dir: &std::path::Path) -> String {
    match start(card, dir, StartOptions::default()) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn sockets_are_the_owners_alone_and_go_with_the_card() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("card");
    let mut running = start(&Card::default(), &dir, StartOptions::default()).unwrap();
    let mut paths: Vec<_> = running.sockets().iter().map(|(_, path)| path.clone()).collect();
    paths.push(running.control().to_path_buf());
    assert_eq!(paths.len(), 3);
    for path in &paths {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    running.stop();
    assert!(paths.iter().all(|path| !path.exists()));
    drop(running);
    drop(start(&Card::default(), &dir, StartOptions::default()).unwrap());
}

#[test]
fn a_vf_of_its_own_and_its_shadow_have_a_socket_each_and_sfs_have_none() {
    let temp = tempfile::tempdir().unwrap();
    let card = Card::parse("ports = 1\nvfs = 2\nsfs = 2\n[attach]\npf0vf1 = \"standalone\"").unwrap();
    let mut running = start(&card, temp.path(), StartOptions::default()).unwrap();
    let sockets = |temp: &std::path::Path| -> Vec<String> {
        let names = std::fs::read_dir(temp).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("pf")).collect();
        names.sort();
        names
    };
    assert_eq!(sockets(temp.path()), ["pf0.sock", "pf0vf0.sock", "pf0vf1-shadow.sock", "pf0vf1.sock"]);
    running.stop();
    assert_eq!(sockets(temp.path()), [""; 0]);
}

#[test]
fn a_directory_in_use_is_refused_and_its_card_lives_on() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(&Card::default(), dir.path(), StartOptions::default()).unwrap();
    let message = error(&Card::default(), dir.path());
    assert!(message.contains("in use") && message.contains("--dir"), "{message}");
    assert!(std::os::unix::net::UnixStream::connect(running.control()).is_ok());
}

#[test]
fn a_path_that_is_too_long_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let message = error(&Card::default(), &temp.path().join("d".repeat(100)));
    assert!(message.contains("107") && message.contains("shorter"), "{message}");
}

#[test]
fn a_card_that_cannot_be_is_refused_before_anything_is_made() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("card");
    let mut card = Card::default();
    card.ports[1].wire = Wire::None;
    assert!(matches!(start(&card, &dir, StartOptions::default()), Err(StartError::Cabling(_))));
    assert!(!dir.exists());
}

#[test]
fn waiting_ends_when_another_thread_stops_the_card() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(&Card::default(), dir.path(), StartOptions::default()).unwrap();
    let (stopper, control) = (running.stopper(), running.control().to_path_buf());
    let stop = std::thread::spawn(move || stopper.stop());
    running.wait();
    stop.join().unwrap();
    assert!(!control.exists());
}
