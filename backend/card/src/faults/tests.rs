use super::*;
use crate::card::{FunctionSetup, PageCounts, PortSetup, VfPageCounts};

fn personality(seed: u64) -> Personality {
    let function = |n: u16| FunctionSetup {
        name: format!("pf{n}"),
        port: n.into(),
        vport: 0,
        of_host: false,
        vhca_id: n + 1,
        vectors: 8,
        bar0: 32 << 20,
    };
    Personality {
        version: (28, 43, 1000),
        psid: "X".into(),
        system_image_guid: 1,
        pages: PageCounts { boot: 1, init: 1, event: 1 },
        vf_pages: VfPageCounts { enable: 1, init: 1 },
        seed,
        page_manner: crate::PageManner::default(),
        timeouts: None,
        hash_key: (1, 2),
        ports: (0..2).map(|_| PortSetup { mac: [2; 6], speed_mbps: 100_000, peer: None }).collect(),
        functions: vec![function(0), function(1)],
    }
}

fn rule(text: &str) -> FaultRule {
    text.parse().unwrap()
}

fn nop() -> [u8; 16] {
    let mut input = [0; 16];
    mlx5emu_prm::layouts::cmd_in::opcode.set(&mut input, mlx5emu_prm::opcode::Opcode::NOP.0.into());
    input
}

/// On which of the first `n` commands the rule acts, at functions 0 and 1.
fn acts(seed: u64, text: &str, n: usize) -> [Vec<usize>; 2] {
    let faults = Faults::new(&personality(seed));
    faults.add_for_test(&[rule(text)]);
    [0, 1].map(|f| (1..=n).filter(|_| faults.of_command(f, &nop()).is_some()).collect())
}

impl Faults {
    fn add_for_test(&self, rules: &[FaultRule]) {
        let all: Vec<_> = rules.iter().map(|r| Arc::new(self.compile(r, 1, "x").unwrap())).collect();
        self.rules.write().extend(all);
        self.armed.store(u8::MAX, Relaxed);
    }
}

#[test]
fn occasions_are_counted_by_function() {
    for (text, expected) in [
        ("cmd => drop", vec![1]),
        ("cmd nth=3 => drop", vec![3]),
        ("cmd nth=3 => drop times=2", vec![3, 4]),
        ("cmd every=3 => drop times=all", vec![3, 6, 9]),
        ("cmd every=3 => drop times=2", vec![3, 6]),
        ("cmd nth=2 every=4 => drop times=all", vec![2, 6, 10]),
        ("cmd op=NOP p=1/1 => drop times=all", (1..=10).collect()),
        ("cmd op=INIT_HCA => drop times=all", vec![]),
    ] {
        assert_eq!(acts(0, text, 10), [expected.clone(), expected], "{text}");
    }
    let [pf0, pf1] = acts(0, "cmd fn=pf1 => drop times=all", 2);
    assert_eq!((pf0.len(), pf1.len()), (0, 2));
}

#[test]
fn a_share_is_the_same_each_time_and_hangs_on_seed_function_and_rule() {
    let text = "cmd p=1/10 => drop times=all";
    let [pf0, pf1] = acts(1, text, 10_000);
    assert_eq!([pf0.clone(), pf1.clone()], acts(1, text, 10_000));
    assert!((800..1200).contains(&pf0.len()), "{}", pf0.len());
    assert_ne!(pf0, pf1);
    assert_ne!(pf0, acts(2, text, 10_000)[0]);
    assert_ne!(pf0, acts(1, "cmd p=1/10 op=NOP => drop times=all", 10_000)[0]);
}

#[test]
fn the_first_rule_whose_turn_it_is_acts_and_all_count() {
    let faults = Faults::new(&personality(0));
    faults.add_for_test(&[rule("cmd nth=2 => drop"), rule("cmd => status=BAD_OP times=all")]);
    let texts = [(); 3].map(|()| faults.of_command(0, &nop()).unwrap().spec.text.clone());
    assert!(texts[0].contains("status") && texts[1].contains("drop") && texts[2].contains("status"));
    let counts: Vec<_> = faults.rules.read().iter().map(|rule| rule.counts.lock()[0]).collect();
    assert_eq!(counts, [Counts { matched: 3, acted: 1 }, Counts { matched: 3, acted: 2 }]);
}

#[test]
fn names_that_nothing_has_are_told_with_the_nearest() {
    for (text, part) in [
        ("cmd fn=pf7 => drop", "this card has no function pf7: it has pf0, pf1"),
        ("cmd op=CREAT_QP => drop", "op=CREAT_QP: there is no command called 'CREAT_QP'; did you mean CREATE_QP?"),
        ("cmd op=NOP op_mod=x => drop", "op_mod=x: write a number"),
        ("cmd op=NOP op_mod=65536 => drop", "largest value is 0xffff"),
        ("cmd op=MANAGE_PAGES in.function=1 => drop", "did you mean in.function_id?"),
        ("cmd op=MANAGE_PAGES in.function_id=65536 => drop", "whose largest value is 0xffff"),
        ("cmd op=CREATE_SQ in.ctx.state=RDI => drop", "did you mean RDY"),
        ("cmd op=NOP => status=BAD_RES_STAT", "did you mean BAD_RES_STATE"),
        ("cmd op=NOP => status=256", "status=256: there is no command status"),
        ("cmd op=NOP => status=1 syndrome=PagesMising", "did you mean PagesMissing"),
        ("cmd op=NOP => status=1 syndrome=0x100000000", "largest value is 0xffffffff"),
        ("cmd op=NOP => delivery=FW_ER", "did you mean FW_ERR"),
        ("cmd op=QUERY_PAGES => out.num_page=1", "did you mean out.num_pages?"),
        ("cmd op=QUERY_PAGES => out.num_pages=x", "out.num_pages=x"),
        ("cmd op=0xfff => out.num_pages=1", "the fields of 0xfff are not known"),
    ] {
        let error = check(&personality(0), &[rule(text)]).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
        assert!(error.ends_with(&format!("(in the rule '{text}')")) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn rules_are_bounded_and_their_names_differ() {
    let faults = Faults::new(&personality(0));
    let many: Vec<_> = (0..mlx5emu_config::fault::MAX_RULES).map(|_| rule("cmd => drop")).collect();
    let names = faults.add(&many).unwrap();
    assert_eq!(names[..2], ["rule1", "rule2"]);
    assert!(faults.add(&[rule("cmd => drop")]).unwrap_err().contains("64 fault rules at most"));
    let faults = Faults::new(&personality(0));
    assert!(faults.add(&[rule("x: cmd => drop"), rule("x: cmd => drop")]).unwrap_err().contains("already"));
    assert_eq!(faults.rules.read().len(), 0);
    // The second is the fourth that was tried.
    assert_eq!(faults.add(&[rule("rule4: cmd => drop"), rule("cmd => drop")]).unwrap(), ["rule4", "rule5"]);
}
