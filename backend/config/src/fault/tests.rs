use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> FaultRule {
    FaultRule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn rules_are_read() {
    let rule = parse("  cmd op=CREATE_QP   nth=1 => status=BAD_RES_STATE ");
    assert_eq!((rule.name.clone(), rule.kind, rule.function), (None, FaultKind::Cmd, None));
    assert_eq!(rule.matches, [("op".to_string(), "CREATE_QP".to_string())]);
    assert_eq!(rule.occasions, Occasions { nth: 1, every: 1, chance: None, times: Some(1) });
    assert_eq!((rule.stage, &rule.actions[..]), (None, &[Action::Status("BAD_RES_STATE".into())][..]));
    assert_eq!(rule.to_string(), "cmd op=CREATE_QP nth=1 => status=BAD_RES_STATE");

    let rule = parse("slow:cmd fn=pf0vf3 every=3 p=1/100 => after delay=20ms twice times=all");
    assert_eq!((rule.name.as_deref(), rule.function), (Some("slow"), Some(FunctionName::vf(0, 3))));
    assert_eq!(rule.occasions, Occasions { nth: 3, every: 3, chance: Some((1, 100)), times: None });
    assert_eq!((rule.stage, &rule.actions[..]), (Some(Stage::After), &[Action::Delay(20_000_000), Action::Twice][..]));

    let rule = parse("cmd op=0x105 in.function_id=2 uid=1 => out.num_pages=7 status=3 syndrome=0x1234");
    assert_eq!((rule.matched("in.function_id"), rule.matched("uid")), (Some("2"), Some("1")));
    assert_eq!(rule.actions[0], Action::Field { path: "out.num_pages".into(), value: "7".into() });
    for text in [
        "event type=PORT_CHANGE sub_type=4 => drop",
        "event type=PAGE_REQUEST data.func_id=0 => hold",
        "wqe op=SEND queue=0x41 side=send nth=10 => syndrome=LOCAL_PROT_ERR",
        "packet port=p0 dir=out ethertype=0x0806 p=1/2 => drop times=all",
        "packet fn=pf1 min_len=1000 => delay=2ms",
        "dma fn=pf0 dir=read addr=0x1000-0x1fff => error=UR",
        "health fn=pf0 nth=3 => syndrome=FW_INTERNAL_ERR report",
        "health => hang",
    ] {
        assert_eq!(parse(text).to_string(), text);
    }
}

#[test]
fn what_is_wrong_is_one_sentence_with_the_remedy() {
    for (text, part) in [
        ("", "[NAME:] KIND MATCH… => ACTION…"),
        ("cmd op=NOP", "[NAME:] KIND MATCH… => ACTION…"),
        ("=> drop", "begin with one of cmd, event"),
        ("cmmd => drop", "no kind of rule 'cmmd'; did you mean 'cmd'?"),
        ("zzzzzzzz => drop", "there are cmd, event, wqe, packet, dma, health"),
        ("1x: cmd => drop", "'1x' cannot be the name of a rule"),
        (": cmd => drop", "'' cannot be the name of a rule"),
        ("cmd opp=NOP => drop", "cmd rules match no 'opp'; did you mean 'op'?"),
        ("cmd zzzzzzzzz=1 => drop", "there are fn=, nth=, every=, p=, op=, op_mod=, uid=, in.FIELD="),
        ("cmd op => drop", "'op' has no value: write op=COMMAND"),
        ("cmd op= => drop", "'op' has no value"),
        ("cmd in.=1 => drop", "match no 'in.'"),
        ("cmd op=NOP op=NOP => drop", "'op' stands twice"),
        ("event op=NOP => drop", "event rules match no 'op'"),
        ("cmd fn=eth0 => drop", "'eth0' is not a function name"),
        ("cmd nth=0 => drop", "nth=0: write a whole number from 1 on"),
        ("cmd nth=-1 => drop", "nth=-1: write"),
        ("cmd every=x => drop", "every=x: write"),
        ("cmd p=2/1 => drop", "p=2/1: write a share as A/B"),
        ("cmd p=1/0 => drop", "p=1/0: write a share"),
        ("cmd p=0.5 => drop", "p=0.5: write a share"),
        ("cmd op=NOP =>", "the rule does nothing"),
        ("cmd op=NOP => times=3", "the rule does nothing"),
        ("cmd op=NOP => after", "the rule does nothing"),
        ("cmd op=NOP => statsu=1", "cmd rules have no action 'statsu'; did you mean 'status'?"),
        ("cmd op=NOP => status", "'status' has no value: write status=VALUE"),
        ("cmd op=NOP => status=", "'status' has no value"),
        ("cmd op=NOP => drop=1", "'drop' has no value of its own"),
        ("cmd op=NOP => drop drop", "'drop' stands twice"),
        ("cmd op=NOP => before after drop", "'before' or 'after', not both"),
        ("cmd op=NOP => out.=1", "no action 'out.'"),
        ("cmd op=NOP => out.x", "'out.x' has no value"),
        ("cmd => out.x=1", "write op=COMMAND too"),
        ("cmd in.x=1 => drop", "'in.x' is a field of one command"),
        ("event data.x=1 => drop", "write type=EVENT too"),
        ("cmd op=NOP => syndrome=1", "write status=STATUS too"),
        ("cmd op=NOP => delay=5", "delay=5: write a time like"),
        ("cmd op=NOP => delay=0ms", "delay=0ms: write a time"),
        ("cmd op=NOP => delay=11111s", "ten minutes at most"),
        ("cmd op=NOP => delay=99999999999999999999s", "ten minutes at most"),
        ("cmd op=NOP => idle-slot=32", "a slot from 0 to 31"),
        ("cmd op=NOP => times=0", "times=0: write a whole number from 1 on or 'all'"),
        ("cmd op=NOP => hold delay=1ms", "'hold' and 'delay' do not go together"),
        ("cmd op=NOP => drop hang", "'drop' and 'hang' do not go together"),
        ("cmd op=NOP => drop status=1", "gets no answer"),
        ("cmd op=NOP => hang twice", "not announced"),
        ("cmd op=NOP => hang hold", "'hang' ends with a reset"),
        ("event type=CMD => status=1", "event rules have no action 'status'"),
        ("packet => drop", "write port=p0, or fn=pf0"),
        ("packet fn=pf0 port=p0 => drop", "write port=p0, or fn=pf0"),
        ("health => report", "write syndrome=SYND too"),
        ("cmd op=\u{7}x => drop", "cannot have the character"),
    ] {
        let error = FaultRule::parse(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
        assert!(!error.contains('\n') && error.chars().count() < 300, "{error}");
    }
    let long = format!("cmd op={} => drop", "x".repeat(MAX_RULE));
    assert!(FaultRule::parse(&long).unwrap_err().contains("at most 1024 bytes"));
}

#[test]
fn words_of_a_shell_are_one_rule_or_several() {
    let words = |list: &[&str]| FaultRule::of_words(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(words(&["cmd", "op=NOP", "=>", "drop"]), ["cmd op=NOP => drop"]);
    assert_eq!(words(&["cmd op=NOP => drop", "health => hang"]), ["cmd op=NOP => drop", "health => hang"]);
    assert_eq!(words(&["a: cmd op=NOP", "=> drop"]), ["a: cmd op=NOP => drop"]);
}

/// Words that may stand in a rule, right or wrong.
fn word() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(vec![
        "cmd",
        "event",
        "wqe",
        "packet",
        "dma",
        "health",
        "=>",
        "fn",
        "nth",
        "every",
        "p",
        "op",
        "in.x",
        "data.y",
        "type",
        "port",
        "dir",
        "addr",
        "status",
        "syndrome",
        "out.z",
        "drop",
        "hold",
        "delay",
        "twice",
        "idle-slot",
        "hang",
        "times",
        "before",
        "after",
        "name:",
        "error",
        "report",
        "é",
        ":",
        "=",
    ]);
    let values =
        prop::sample::select(vec!["", "=", "=1", "=pf0", "=1/2", "=20ms", "=all", "=NOP", "=p0", "=-", "=\u{7f}"]);
    (keys, values).prop_map(|(key, value)| format!("{key}{value}"))
}

proptest! {
    #[test]
    fn anything_is_a_rule_or_a_sentence(words in prop::collection::vec(word(), 0..12)) {
        match FaultRule::parse(&words.join(" ")) {
            Ok(rule) => {
                // What is shown of a rule is that rule.
                prop_assert_eq!(FaultRule::parse(&rule.to_string()), Ok(rule.clone()));
                prop_assert!(!rule.actions.is_empty() && rule.occasions.nth >= 1 && rule.occasions.every >= 1);
            }
            Err(error) => prop_assert!(!error.is_empty() && error.chars().count() < 400 && !error.contains('\n')),
        }
    }

    #[test]
    fn any_text_is_a_rule_or_a_sentence(text in "\\PC{0,60}") {
        let _ = FaultRule::parse(&text);
        let _ = FaultRule::parse(&format!("cmd {text} => {text}"));
    }

    #[test]
    fn counts_and_shares_come_through(nth in 1u64.., every in 1u64.., a in 1u32.., b in 1u32.., times in 1u64..) {
        let text = format!("cmd nth={nth} every={every} p={}/{} => drop times={times}", a.min(b), a.max(b));
        let rule = parse(&text);
        let expected = Occasions { nth, every, chance: Some((a.min(b), a.max(b))), times: Some(times) };
        prop_assert_eq!(rule.occasions, expected);
    }
}
