//! A card that runs, tested from the other side of its sockets.

mod boot;
mod control;
mod machine;
mod races;
mod refusals;
mod stepping;
