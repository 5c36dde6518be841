//! The control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use mlx5emu_config::FunctionName;
use mlx5emu_config::control::{ClientError, ErrorCode, MAX_CALL, Reply, Request};
use mlx5emu_driver::{Config, Driver};

use super::machine::{goodbye, rig, wait_until};

fn inspect(path: &str) -> Request {
    Request::Inspect { path: path.to_string() }
}

fn commands(since: u64, function: Option<FunctionName>) -> Request {
    Request::Commands { since, follow: false, function }
}

#[test]
fn a_running_card_shows_its_commands_by_name_and_its_state_by_path() {
    let rig = rig();
    let mut ctl = rig.control();
    assert_eq!(ctl.hello().functions, rig.names());
    assert_eq!(ctl.call(Request::Ping {}).unwrap(), Reply::Pong {});
    let driver = Driver::probe(rig.machine(0), Config::default()).unwrap();
    let Reply::Inspect { tree } = ctl.call(inspect("pf0/pages")).unwrap() else { panic!("not a tree") };
    assert_eq!(tree["given"], driver.pages.given);
    let Reply::Inspect { tree } = ctl.call(inspect("")).unwrap() else { panic!("not a tree") };
    assert_eq!(tree["functions"]["pf0"]["connection"]["connected"], true);
    assert_eq!(tree["functions"]["pf0"]["connection"]["guest_memory"], "shared");
    assert_eq!(tree["functions"]["pf1"]["connection"]["connected"], false);
    assert!(tree["server"]["workers"].as_array().is_some_and(|workers| !workers.is_empty()));
    let (_, farewell) = goodbye(driver);
    let Reply::Commands { records, next, lost, more } = ctl.call(commands(0, None)).unwrap() else { panic!("none") };
    assert_eq!((records.len() as u64, lost, more), (farewell.commands, 0, false));
    assert_eq!(next, farewell.commands + 1);
    assert_eq!((records[0].opcode_name.as_str(), records[0].status_name.as_str()), ("ENABLE_HCA", "OK"));
    let create = records.iter().find(|r| r.opcode_name == "CREATE_EQ").unwrap();
    assert!(create.fields.iter().any(|(name, value)| name.ends_with("log_eq_size") && *value > 0), "{create:?}");
    let only = ctl.call(commands(next - 1, Some(FunctionName::pf(0)))).unwrap();
    assert!(matches!(only, Reply::Commands { records, .. } if records.len() == 1));
    let other = ctl.call(commands(0, Some(FunctionName::pf(1)))).unwrap();
    assert!(matches!(other, Reply::Commands { records, .. } if records.is_empty()));
}

#[test]
fn wrong_names_are_answered_with_those_that_there_are() {
    let rig = rig();
    let mut ctl = rig.control();
    let refused = |result| match result {
        Err(ClientError::Refused { code: ErrorCode::NotFound, message }) => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(ctl.call(inspect("pf0/page"))).contains("pages"));
    assert!(refused(ctl.call(commands(0, Some(FunctionName::pf(7))))).contains("pf0, pf1"));
    assert_eq!(ctl.call(Request::Ping {}).unwrap(), Reply::Pong {});
}

#[test]
fn who_follows_sees_each_command_once() {
    let rig = rig();
    let mut ctl = rig.control();
    let mut seen = Vec::new();
    let follow = Request::Commands { since: 0, follow: true, function: None };
    let mut take = |reply| match reply {
        Reply::Commands { records, .. } => seen.extend(records.into_iter().map(|r| r.seq)),
        other => panic!("{other:?}"),
    };
    take(ctl.call(follow).unwrap());
    let (_, farewell) = goodbye(Driver::probe(rig.machine(1), Config::default()).unwrap());
    while seen.len() < farewell.commands as usize {
        match ctl.follow().unwrap() {
            Reply::Commands { records, .. } => seen.extend(records.into_iter().map(|r| r.seq)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, (1..=farewell.commands).collect::<Vec<_>>());
}

fn raw(rig: &super::machine::Rig) -> BufReader<UnixStream> {
    let mut stream = BufReader::new(UnixStream::connect(rig.running.control()).unwrap());
    stream.read_line(&mut String::new()).unwrap();
    stream
}

#[test]
fn rubbish_is_answered_and_endless_lines_are_hung_up_on() {
    let rig = rig();
    let mut client = raw(&rig);
    let mut line = String::new();
    for rubbish in ["\n", "{}\n", "[1,2\n", "{\"id\":1,\"request\":{\"verb\":\"shutdown\"}}\n", "\u{fffd}\u{0}\n"] {
        client.get_mut().write_all(rubbish.as_bytes()).unwrap();
        line.clear();
        client.read_line(&mut line).unwrap();
        assert!(line.contains("bad-call"), "{line}");
    }
    // The server may hang up before all of it is written.
    let _ = client.get_mut().write_all(&vec![b'x'; 4 * MAX_CALL]);
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    let mut ctl = rig.control();
    assert_eq!(ctl.call(Request::Ping {}).unwrap(), Reply::Pong {});
}

#[test]
fn clients_beyond_the_limit_are_told_and_place_is_made_when_one_leaves() {
    let rig = rig();
    let clients: Vec<_> = (0..16).map(|_| rig.control()).collect();
    let mut late = rig.control();
    assert!(late.call(Request::Ping {}).is_err());
    drop(clients);
    wait_until("a free place", || rig.control().call(Request::Ping {}).is_ok());
}

#[test]
fn a_client_that_does_not_read_disturbs_nobody() {
    let rig = rig();
    let mut deaf = raw(&rig);
    deaf.get_ref().set_nonblocking(true).unwrap();
    let call = "{\"id\":1,\"request\":{\"verb\":\"inspect\"}}\n";
    while deaf.get_mut().write(call.as_bytes()).is_ok_and(|n| n == call.len()) {}
    goodbye(Driver::probe(rig.machine(0), Config::default()).unwrap());
    let mut ctl = rig.control();
    assert_eq!(ctl.call(Request::Ping {}).unwrap(), Reply::Pong {});
}
