//! The control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use mlx5emu_config::FunctionName;
use mlx5emu_config::control::{CapturedFrame, Client, ClientError, Direction, ErrorCode, MAX_CALL, Reply, Request};
use mlx5emu_driver::{Config, Driver};

use super::machine::{goodbye, rig, rig_with, wait_until};
use crate::StartOptions;

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
    assert_eq!(ctl.hello().unwrap().functions, rig.names());
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

fn capture(at: &str, snaplen: u32, count: Option<u64>) -> Request {
    Request::Capture { at: at.to_string(), snaplen, count, last: None }
}

/// The rest of a capture: its frames, how many passed and how many were lost.
fn rest(ctl: &mut Client, mut reply: Reply) -> (Vec<CapturedFrame>, u64, u64) {
    let mut all = Vec::new();
    loop {
        let Reply::Captured { frames, seen, lost, done } = reply else { panic!("{reply:?}") };
        all.extend(frames);
        if done {
            return (all, seen, lost);
        }
        reply = ctl.follow().unwrap();
    }
}

fn frame(to: [u8; 6], from: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame = [to.as_slice(), &from, &[0x88, 0xb5]].concat();
    frame.resize(len, 0x5a);
    frame
}

#[test]
fn a_capture_has_what_is_sent_what_comes_and_why_it_is_dropped() {
    let rig = rig();
    let [mut a, mut b] = rig.opened();
    let macs = [a.net().unwrap().mac, b.net().unwrap().mac];
    let mut taps = ["p0", "pf0", "p1", "pf1"].map(|at| (at, rig.control()));
    let firsts: Vec<_> = taps.iter_mut().map(|(at, ctl)| ctl.call(capture(at, 64, None)).unwrap()).collect();
    // The one that nobody takes goes first: when the other has arrived, both have been through the card.
    let sent = [frame([2, 9, 9, 9, 9, 9], macs[0], 60), frame(macs[1], macs[0], 200)];
    for frame in &sent {
        a.send(frame).unwrap();
    }
    wait_until("the frame", || b.recv().unwrap().is_some());
    b.send(&frame(macs[0], macs[1], 90)).unwrap();
    wait_until("the answer", || a.recv().unwrap().is_some());
    for ((at, mut ctl), first) in taps.into_iter().zip(firsts) {
        ctl.finish().unwrap();
        let (frames, seen, lost) = rest(&mut ctl, first);
        assert_eq!((frames.len() as u64, lost), (seen, 0));
        let shown: Vec<_> = frames.iter().map(|f| (f.direction, f.len, f.dropped.is_some())).collect();
        let (one, other) = match at {
            "p0" | "pf0" => (Direction::Outbound, Direction::Inbound),
            _ => (Direction::Inbound, Direction::Outbound),
        };
        let dropped_here = one == Direction::Inbound;
        assert_eq!(shown, [(one, 60, dropped_here), (one, 200, false), (other, 90, false)], "{at}: {frames:?}");
        assert_eq!(frames[1].data.0, sent[1][..64]);
        assert!(frames.windows(2).all(|two| two[0].time_ns <= two[1].time_ns));
        if let Some(why) = &frames[0].dropped {
            assert!(why.starts_with("no steering rule takes it (flow table 0x"), "{why}");
        }
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_capture_ends_by_itself_after_as_many_frames_as_were_wanted() {
    let rig = rig();
    let [mut a, b] = rig.opened();
    let (to, from) = (b.net().unwrap().mac, a.net().unwrap().mac);
    let mut ctl = rig.control();
    let first = ctl.call(capture("pf0", 1 << 30, Some(3))).unwrap();
    for _ in 0..5 {
        a.send(&frame(to, from, 100)).unwrap();
    }
    let (frames, seen, lost) = rest(&mut ctl, first);
    assert_eq!((frames.len(), seen, lost), (3, 3, 0));
    assert!(matches!(ctl.follow(), Err(ClientError::Gone)));
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_capture_of_the_last_frames_gives_them_at_its_end() {
    let rig = rig();
    let [mut a, mut b] = rig.opened();
    let (to, from) = (b.net().unwrap().mac, a.net().unwrap().mac);
    let mut ctl = rig.control();
    let ask = Request::Capture { at: "p0".to_string(), snaplen: 64, count: None, last: Some(2) };
    let first = ctl.call(ask).unwrap();
    assert_eq!(first, Reply::Captured { frames: Vec::new(), seen: 0, lost: 0, done: false });
    for n in 0..5 {
        a.send(&frame(to, from, 100 + n)).unwrap();
        wait_until("a frame", || b.recv().unwrap().is_some());
    }
    assert!(!ctl.answer_comes(std::time::Duration::from_millis(50)).unwrap());
    ctl.finish().unwrap();
    let (frames, seen, lost) = rest(&mut ctl, first);
    assert_eq!((frames.iter().map(|f| f.len).collect::<Vec<_>>(), seen, lost), (vec![103, 104], 5, 0));
    goodbye(a);
    goodbye(b);
}

#[test]
fn captures_are_taken_away_with_their_clients_and_bounded() {
    let rig = rig();
    let mut ctl = rig.control();
    let refused = ctl.call(capture("pf9", 64, None));
    assert!(matches!(refused, Err(ClientError::Refused { code: ErrorCode::NotFound, .. })), "{refused:?}");
    // As many clients as there may be, again and again: places come back when a client goes.
    for _ in 0..3 {
        let mut clients: Vec<_> = Vec::new();
        wait_until("all places", || {
            let mut client = rig.control();
            if client.call(capture("p0", 64, None)).is_ok() {
                clients.push(client);
            }
            clients.len() == 15
        });
    }
    drop(ctl);
    // After the answer it reads nothing.
    let call = "{\"id\":1,\"request\":{\"verb\":\"capture\",\"at\":\"p0\"}}\n";
    let mut deaf = None;
    wait_until("a free place", || {
        let (mut client, mut line) = (raw(&rig), String::new());
        let asked = client.get_mut().write_all(call.as_bytes()).and_then(|()| client.read_line(&mut line));
        deaf = asked.is_ok_and(|_| line.contains("\"id\":1")).then_some(client);
        deaf.is_some()
    });
    let [mut a, mut b] = rig.opened();
    let (to, from) = (b.net().unwrap().mac, a.net().unwrap().mac);
    for _ in 0..64 {
        a.send(&frame(to, from, 1400)).unwrap();
        wait_until("a frame", || b.recv().unwrap().is_some());
    }
    drop(deaf);
    goodbye(a);
    goodbye(b);
}

/// One call on a guest's connection, and the line that answers it.
fn guest_call(port: &mut BufReader<UnixStream>, text: &str) -> serde_json::Value {
    port.get_mut().write_all(text.as_bytes()).unwrap();
    let mut line = String::new();
    port.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn guests_have_a_socket_of_their_own_that_offers_less_and_outlives_rubbish() {
    let rig = rig_with(StartOptions { guest_control: true, ..StartOptions::default() });
    let mut port = BufReader::new(UnixStream::connect(rig.running.guest_control().unwrap()).unwrap());
    let answer = guest_call(&mut port, "half a line\n");
    assert_eq!((&answer["id"], &answer["reply"]["code"]), (&0.into(), &"bad-call".into()));
    let answer = guest_call(&mut port, &format!("{}\n", "x".repeat(2 * MAX_CALL)));
    assert_eq!(answer["reply"]["code"], "bad-call");
    let answer = guest_call(&mut port, "\n\n{\"id\":7,\"request\":{\"verb\":\"capture\",\"at\":\"p0\"}}\n");
    assert_eq!((&answer["id"], &answer["reply"]["code"]), (&7.into(), &"bad-call".into()));
    let answer =
        guest_call(&mut port, "{\"id\":8,\"request\":{\"verb\":\"inspect\",\"path\":\"server/descriptors\"}}\n");
    assert!(answer["reply"]["tree"].as_u64().unwrap() > 10, "{answer}");
    let answer = guest_call(&mut port, "{\"id\":9,\"request\":{\"verb\":\"capture-begin\",\"at\":\"p0\"}}\n");
    assert_eq!(answer["reply"], serde_json::json!({"kind": "capture-begun", "capture": 1}));
    let take = "{\"id\":10,\"request\":{\"verb\":\"capture-take\",\"capture\":1,\"end\":true}}\n";
    assert_eq!(guest_call(&mut port, take)["reply"]["done"], true);
    assert_eq!(guest_call(&mut port, take)["reply"]["code"], "not-found");
    // What a guest leaves unread is no reason for the card not to end.
    for _ in 0..2000 {
        if port
            .get_mut()
            .set_nonblocking(true)
            .and_then(|()| port.get_mut().write_all(b"{\"id\":1,\"request\":{\"verb\":\"inspect\"}}\n"))
            .is_err()
        {
            break;
        }
    }
}

#[test]
fn only_who_asks_for_it_has_a_socket_for_guests() {
    let rig = rig();
    assert!(rig.running.guest_control().is_none());
    assert!(!rig.dir.path().join("guest.sock").exists());
}

#[test]
fn rules_are_added_all_or_none_watched_released_and_cleared() {
    let rig = rig();
    let mut ctl = rig.control();
    let refused = |result| match result {
        Err(ClientError::Refused { code, message }) => (code, message),
        other => panic!("{other:?}"),
    };
    let add = |rules: &[&str]| Request::FaultAdd { rules: rules.iter().map(ToString::to_string).collect() };
    let (code, message) = refused(ctl.call(add(&["cmd op=NOP => drop", "cmd op=NOPE => drop"])));
    assert_eq!(code, ErrorCode::BadCall);
    assert!(message.contains("did you mean NOP?"), "{message}");
    assert!(refused(ctl.call(add(&["cmd op=NOP = drop"]))).1.contains("=> ACTION"));
    assert_eq!(ctl.call(Request::FaultList { name: None }).unwrap(), Reply::Faults { rules: Vec::new() });
    let names = ctl.call(add(&["x: cmd op=INIT_HCA => hold", "cmd op=CREATE_QP => drop"])).unwrap();
    let Reply::FaultsAdded { names } = names else { panic!("{names:?}") };
    assert_eq!(names[0], "x");
    let (code, message) = refused(ctl.call(Request::Release { name: "y".into() }));
    assert_eq!(code, ErrorCode::NotFound);
    assert!(message.contains("there is no fault rule 'y'"), "{message}");
    // The driver waits in its probe until another client lets it go on.
    let driver = std::thread::scope(|scope| {
        let machine = rig.machine(0);
        let driver = scope.spawn(|| Driver::probe(machine, Config::default()).unwrap());
        let mut state = || match ctl.call(Request::FaultList { name: Some("x".into()) }).unwrap() {
            Reply::Faults { mut rules } => rules.remove(0),
            other => panic!("{other:?}"),
        };
        wait_until("INIT_HCA is held", || state().is_there());
        assert!(state().held[0].what.starts_with("INIT_HCA in slot "));
        assert!(!driver.is_finished());
        assert_eq!(ctl.call(Request::Release { name: "x".into() }).unwrap(), Reply::Released { count: 1 });
        driver.join().unwrap()
    });
    let Reply::Commands { records, .. } = ctl.call(commands(0, None)).unwrap() else { panic!("none") };
    assert!(records.iter().any(|r| r.opcode_name == "INIT_HCA" && r.fault.as_deref() == Some("x")));
    let cleared = ctl.call(Request::FaultClear { name: None }).unwrap();
    assert_eq!(cleared, Reply::FaultsCleared { cleared: 2, released: 0 });
    goodbye(driver);
}
