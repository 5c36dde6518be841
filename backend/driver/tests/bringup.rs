//! A driver comes and goes.

#![allow(clippy::unwrap_used)]

mod common;

use common::{goodbye, mac, opened, plain, probed, world};
use mlx5emu_driver::in_process::{World, two_ports};
use mlx5emu_driver::{Config, Driver, Error, Host, NetConfig};
use mlx5emu_prm::event::PortChange;
use mlx5emu_prm::register::PortStatus;

#[test]
fn both_functions_come_up_and_leave_nothing() {
    let (_, a, b) = probed(1);
    for driver in [a, b] {
        let (_, farewell) = goodbye(driver);
        let pages = two_ports().pages;
        assert_eq!(farewell.pages_given, u64::from(pages.boot + pages.init + pages.event));
        assert_eq!(farewell.page_requests, 1);
    }
}

#[test]
fn by_polling_alone_and_without_page_events() {
    let (_, a, _) = world(2);
    let config = Config { events: false, page_requests: false, ..Config::default() };
    let mut driver = Driver::probe(a, config).unwrap();
    driver.open(NetConfig::default()).unwrap();
    let pages = two_ports().pages;
    assert_eq!(driver.pages.given, u64::from(pages.boot + pages.init));
    goodbye(driver);
}

#[test]
fn ten_times_in_a_row() {
    let (_, mut a, mut b) = world(3);
    for round in 0..10 {
        let mut one = Driver::probe(a, Config::default()).unwrap();
        let mut two = Driver::probe(b, Config::default()).unwrap();
        one.open(NetConfig::default()).unwrap();
        two.open(NetConfig::default()).unwrap();
        let frame = plain(mac(&two), mac(&one), 200, round);
        one.send(&frame).unwrap();
        assert_eq!(two.recv_wait().unwrap().frame, frame);
        (a, _) = goodbye(one);
        (b, _) = goodbye(two);
    }
}

#[test]
fn opened_and_closed_ten_times_under_one_driver() {
    let (_, mut a, mut b) = opened(4, &NetConfig::default());
    for round in 0..10 {
        let frame = plain(mac(&b), mac(&a), 100, round);
        a.send(&frame).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, frame);
        a.close().unwrap();
        a.open(NetConfig::default()).unwrap();
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn the_link_follows_both_ends_and_says_so() {
    let (_, mut a, mut b) = probed(5);
    a.open(NetConfig::default()).unwrap();
    assert!(!a.link_up().unwrap(), "the other end is down");
    b.open(NetConfig::default()).unwrap();
    for driver in [&mut a, &mut b] {
        driver.wait_until("link up", |d| d.port_changes.last() == Some(&PortChange::ACTIVE)).unwrap();
        assert!(driver.link_up().unwrap());
        driver.port_changes.clear();
    }
    b.set_port(PortStatus::DOWN).unwrap();
    a.wait_until("link down", |d| d.port_changes.last() == Some(&PortChange::DOWN)).unwrap();
    assert!(!a.link_up().unwrap());
    b.set_port(PortStatus::UP).unwrap();
    a.wait_until("link up again", |d| d.port_changes.last() == Some(&PortChange::ACTIVE)).unwrap();
    goodbye(b);
    a.wait_until("down for good", |d| d.port_changes.last() == Some(&PortChange::DOWN)).unwrap();
    goodbye(a);
}

#[test]
fn event_queues_may_begin_inside_a_page_and_be_tiny() {
    for (log_cmd_eq, eq_page_offset) in [(6, 64), (7, 4032), (8, 1024), (5, 0)] {
        let (_, a, _) = world(6);
        let config = Config { log_cmd_eq, log_async_eq: 5, eq_page_offset, ..Config::default() };
        let mut driver = Driver::probe(a, config).unwrap();
        // Round the command EQ several times.
        for _ in 0..3 << log_cmd_eq {
            driver.permanent_address().unwrap();
        }
        goodbye(driver);
    }
}

#[test]
fn a_card_that_asks_for_no_pages_gets_none() {
    let mut personality = two_ports();
    (personality.pages.boot, personality.pages.init, personality.pages.event) = (0, 0, 0);
    let (_, hosts) = World::new(personality, 7).hosts();
    for host in hosts {
        let mut driver = Driver::probe(host, Config::default()).unwrap();
        driver.open(NetConfig::default()).unwrap();
        let (host, farewell) = driver.remove().unwrap();
        assert_eq!((farewell.pages_given, farewell.page_requests, host.dma_in_use()), (0, 0, 0));
    }
}

#[test]
fn more_pages_than_one_command_takes_back() {
    let mut personality = two_ports();
    (personality.pages.boot, personality.pages.init, personality.pages.event) = (1, 3000, 5000);
    let (_, hosts) = World::new(personality, 8).hosts();
    for host in hosts {
        let driver = Driver::probe(host, Config::default()).unwrap();
        let (_, farewell) = goodbye(driver);
        assert_eq!(farewell.pages_given, 8001);
    }
}

#[test]
fn a_driver_that_gives_no_pages_is_told_so() {
    use mlx5emu_driver::command::input;
    use mlx5emu_prm::layouts::{enable_hca_in, init_hca_in};
    use mlx5emu_prm::opcode::{Opcode, Status};
    let (_, mut a, _) = world(9);
    let mut commands = mlx5emu_driver::command::Commands::enable(&mut a).unwrap();
    let mut run = |opcode, len| {
        let ticket = commands.submit(&mut a, &input(opcode, len), 16).unwrap();
        let mut waited = 0;
        loop {
            if let Some(output) = commands.take(&a, ticket).unwrap() {
                return output.status();
            }
            assert!(a.relax(waited));
            waited += 1;
        }
    };
    assert_eq!(run(Opcode::INIT_HCA, init_hca_in::SIZE), Status::BAD_SYS_STATE);
    assert_eq!(run(Opcode::ENABLE_HCA, enable_hca_in::SIZE), Status::OK);
    assert_eq!(run(Opcode::ENABLE_HCA, enable_hca_in::SIZE), Status::BAD_SYS_STATE);
    assert_ne!(run(Opcode::INIT_HCA, init_hca_in::SIZE), Status::OK);
    assert_eq!(run(Opcode::ALLOC_PD, 16), Status::BAD_SYS_STATE);
    assert_eq!(run(Opcode::DISABLE_HCA, enable_hca_in::SIZE), Status::OK);
}

#[test]
fn a_driver_that_cannot_give_pages_says_so_and_works_with_what_it_gave() {
    let (_, a, b) = world(10);
    let pages = two_ports().pages;
    let mut a = Driver::probe(a, Config { starve: true, ..Config::default() }).unwrap();
    let mut b = Driver::probe(b, Config::default()).unwrap();
    assert_eq!((a.pages.requests, a.pages.given), (1, u64::from(pages.boot + pages.init)));
    assert_eq!(b.pages.given, u64::from(pages.boot + pages.init + pages.event));
    a.open(NetConfig::default()).unwrap();
    b.open(NetConfig::default()).unwrap();
    let frame = plain(mac(&b), mac(&a), 64, 1);
    a.send(&frame).unwrap();
    assert_eq!(b.recv_wait().unwrap().frame, frame);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_function_without_an_interface_says_what_is_wrong() {
    let (_, mut a, b) = probed(12);
    assert!(matches!(a.send(&[0; 60]), Err(Error::Usage(_))));
    a.open(NetConfig::default()).unwrap();
    assert!(matches!(a.open(NetConfig::default()), Err(Error::Usage(_))));
    goodbye(a);
    goodbye(b);
}
