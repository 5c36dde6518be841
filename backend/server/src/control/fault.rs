//! `ctl fault` and `ctl release`: rules for what goes wrong.

use mlx5emu_config::control::{ErrorCode, Reply};
use mlx5emu_config::fault::{FaultRule, MAX_RULES};

use super::View;

impl View {
    /// Adds rules, all of them or none.
    pub fn add_faults(&self, texts: &[String]) -> Reply {
        if texts.len() > MAX_RULES {
            return Reply::error(ErrorCode::TooMuch, format!("a card has {MAX_RULES} fault rules at most"));
        }
        let parsed: Result<Vec<FaultRule>, String> = texts.iter().map(|text| FaultRule::parse(text)).collect();
        let added = parsed.and_then(|rules| self.engine().change(0, |card| card.add_faults(&rules)));
        match added {
            Ok(names) => {
                for (name, text) in names.iter().zip(texts) {
                    log::info!("fault rule '{name}': {text}");
                }
                Reply::FaultsAdded { names }
            }
            Err(why) => Reply::error(ErrorCode::BadCall, why),
        }
    }

    /// The rules, or one of them.
    pub fn faults(&self, name: Option<&str>) -> Reply {
        match self.engine().gate().read().fault_states(name) {
            Ok(rules) => Reply::Faults { rules },
            Err(why) => Reply::error(ErrorCode::NotFound, why),
        }
    }

    /// Takes rules away, or one of them.
    pub fn clear_faults(&self, name: Option<&str>) -> Reply {
        match self.change_faults(|card| card.clear_faults(name)) {
            Ok((cleared, released)) => Reply::FaultsCleared { cleared: cleared as u64, released: released as u64 },
            Err(why) => Reply::error(ErrorCode::NotFound, why),
        }
    }

    /// What a rule holds goes on.
    pub fn release(&self, name: &str) -> Reply {
        match self.change_faults(|card| card.release_fault(name)) {
            Ok(count) => Reply::Released { count: count as u64 },
            Err(why) => Reply::error(ErrorCode::NotFound, why),
        }
    }

    /// What was held may be of any function.
    fn change_faults<R>(&self, change: impl FnOnce(&mut super::Card) -> R) -> R {
        let result = self.engine().change(0, change);
        let functions = self.engine().gate().read().function_count();
        (0..functions).for_each(|f| self.engine().wake(f));
        result
    }
}
